// A chart as SVG. draw({x: [from, to], y: [from, to]}, series), a series being {kind: 'line', 'bars', 'dots', 'arrows' or
// 'mark', x, y, name}; the colours are those of page.css, in the order of the series.
class Chart {
  constructor(ui, {body, figure}, {xlabel = '', ylabel = '', width = 450, height = 250, log = false, square = false} = {}) {
    this.ui = ui;
    this.figure = figure;
    figure.classList.add('chart', ...(square ? ['square'] : []));
    this.size = {width: square ? 340 : width, height: square ? 340 : height};
    this.labels = {xlabel, ylabel};
    this.log = log;
    this.id = `chart${Chart.count = (Chart.count ?? 0) + 1}`;
    this.svg = this.element(body, 'svg', {viewBox: `0 0 ${this.size.width} ${this.size.height}`, role: 'img'});
    this.legend = ui.add(figure, 'div', {class: 'legend'});
  }

  element(parent, tag, attributes) {
    const e = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
    parent.append(e);
    return e;
  }

  ticks([from, to], count) {
    if (!(to > from)) return [from];
    const raw = (to - from) / count, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= raw);
    const all = [];
    for (let v = Math.ceil(from / step - 1e-9) * step; v <= to + step * 1e-9; v += step) all.push(Math.abs(v) < step * 1e-9 ? 0 : v);
    return all;
  }

  // What the plot is clipped to, and the heads of arrows.
  define() {
    const {width, height} = this.size, defs = this.element(this.svg, 'defs', {});
    this.element(this.element(defs, 'clipPath', {id: this.id}), 'rect', {x: 52, y: 4, width: width - 70, height: height - 37});
    const head = this.element(defs, 'marker', {id: `${this.id}-head`, viewBox: '0 0 6 6', refX: 5, refY: 3, markerWidth: 4, markerHeight: 4, orient: 'auto'});
    this.element(head, 'path', {d: 'M0 0L6 3L0 6z', fill: 'context-stroke'});
  }

  axes(range) {
    this.define();
    const {width, height} = this.size, left = 52, right = 18, top = 8, bottom = 34;
    const scale = (v, [a, b], from, to) => from + (v - a) / (b - a || 1) * (to - from);
    const y = (v) => this.log ? Math.log10(Math.max(v, 1e-6)) : v;
    const ys = range.y.map(y);
    this.px = (v) => scale(v, range.x, left, width - right);
    this.py = (v) => Math.min(Math.max(scale(y(v), ys, height - bottom, top), top - 40), height - bottom + 40);
    const yTicks = this.log
        ? Array.from({length: Math.floor(ys[1] + 1e-9) - Math.ceil(ys[0] - 1e-9) + 1}, (_, i) => 10 ** (Math.ceil(ys[0] - 1e-9) + i))
        : this.ticks(range.y, 5);
    for (const v of yTicks) {
      this.element(this.svg, 'line', {class: 'grid', x1: left, x2: width - right, y1: this.py(v), y2: this.py(v)});
      this.element(this.svg, 'text', {x: left - 6, y: this.py(v) + 4, 'text-anchor': 'end'}).textContent = digits(v, 3);
    }
    for (const v of this.ticks(range.x, 7))
      this.element(this.svg, 'text', {x: this.px(v), y: height - bottom + 15, 'text-anchor': 'middle'}).textContent = digits(v, 4);
    this.element(this.svg, 'line', {class: 'axis', x1: left, x2: width - right, y1: height - bottom, y2: height - bottom});
    this.element(this.svg, 'text', {x: (left + width) / 2, y: height - 4, 'text-anchor': 'middle', class: 'label'}).textContent = this.labels.xlabel;
    this.element(this.svg, 'text', {x: 10, y: height / 2, 'text-anchor': 'middle', class: 'label', transform: `rotate(-90 10 ${height / 2})`}).textContent = this.labels.ylabel;
  }

  // `words` tells in a sentence what the chart shows, for those who hear the page.
  draw(range, series, words) {
    this.svg.replaceChildren();
    this.legend.replaceChildren();
    this.axes(range);
    const plot = this.element(this.svg, 'g', {'clip-path': `url(#${this.id})`});
    series.forEach((s, i) => {
      const colour = `c${s.colour ?? i}`;
      const points = s.x.map((x, k) => [this.px(x), this.py(s.y[k])]);
      if (s.kind === 'line')
        this.element(plot, 'path', {class: `line ${colour} ${s.dashed ? 'dashed' : ''} ${s.thin ? 'thin' : ''}`, d: 'M' + points.map((p) => p.map((v) => v.toFixed(1)).join(' ')).join('L')});
      if (s.kind === 'bars') {
        const w = points.length > 1 ? points[1][0] - points[0][0] : 4;
        for (const [x, y] of points)
          this.element(plot, 'rect', {class: `bar ${colour}`, x: x - w / 2, y, width: Math.max(w - 0.5, 0.5), height: Math.max(this.size.height - 34 - y, 0)});
      }
      if (s.kind === 'dots')
        for (const [x, y] of points) this.element(plot, 'circle', {class: `dot ${colour}`, cx: x, cy: y, r: s.radius ?? 1.8});
      if (s.kind === 'arrows')
        points.forEach(([x, y], k) => this.element(plot, 'line', {class: `arrow ${colour}`, 'marker-end': `url(#${this.id}-head)`, x1: x, y1: y, x2: this.px(s.x[k] + s.u[k]), y2: this.py(s.y[k] + s.v[k])}));
      if (s.kind === 'mark')
        this.element(plot, 'line', {class: `mark ${colour}`, x1: points[0][0], x2: points[0][0], y1: 8, y2: this.size.height - 34});
      if (s.name) {
        const item = this.ui.add(this.legend, 'span');
        this.ui.add(item, 'i', {class: colour});
        typeset(this.ui.add(item, 'span'), s.name);
      }
    });
    this.svg.setAttribute('aria-label', words ?? series.map((s) => s.name).filter(Boolean).join(', '));
  }
}
