// Chapter 10: where the bound's bits are, what stands in front of the squared error, and the bound beside the exact value.
widget('bound', async (ui) => {
  const model = await library.call('describe'), count = 4;
  const t = ui.slider('t', {min: 1, max: model.steps - 1, value: 10}, () => show());
  const picture = ui.slider(ui.say('Picture', '图片'), {min: 0, max: 96, value: 7}, () => run());
  const shown = {
    x0: ui.picture('x₀', ui.stage, model),
    xt: ui.picture('x_t', ui.stage, model),
    x0_hat: ui.picture('x̂₀', ui.stage, model),
  };
  const chart = ui.chart(ui.say('Share of all bits that timesteps 0 to t cost', '第 0 到 t 步所花比特占总数的比例'), {xlabel: 'log₁₀ t', ylabel: ui.say('share', '比例')});
  const weights = ui.chart(ui.say('What ‖ε̄ − ε_θ‖² is multiplied by at each t', '每个 t 上 ‖ε̄ − ε_θ‖² 前面的系数'), {xlabel: 't', ylabel: ui.say('weight', '权重'), log: true});
  const table = ui.table(ui.say(`The bound on ${count} pictures`, `${count} 张图上的界`));
  const weight = await library.call('bound_weights');
  let bits = null;

  const upTo = (end) => bits.terms.filter((term) => term.first < end).reduce((sum, term) => sum + term.bits, bits.last_step);
  const show = ui.latest(async () => {
    const [{label}] = await library.call('show', {picture: picture.value, count: 1});
    const r = await library.call('ask', {picture: picture.value, t: t.value, ...(model.classes.length ? {label} : {})});
    for (const [key, place] of Object.entries(shown)) place.draw(r[key]);
    if (!bits) return;
    const x = bits.terms.map((term) => Math.log10(term.first + term.count - 1)), y = bits.terms.map((term) => upTo(term.first + 1) / bits.total);
    const share = upTo(t.value + 1) / bits.total;
    chart.draw({x: [0, Math.log10(model.steps)], y: [0, 1]}, [{kind: 'line', x, y, name: ui.say('bits', '比特')}, {kind: 'mark', x: [Math.log10(t.value)], y: [0], name: `t = ${t.value}`, colour: 1}],
               ui.say(`${digits(100 * share, 3)} per cent of the bits by t = ${t.value}`, `到 t = ${t.value} 为止占 ${digits(100 * share, 3)}%`));
    weights.draw({x: [0, model.steps], y: [1e-3, 2]}, [
      {kind: 'line', x: weight.t, y: weight.weight, name: ui.say('the bound', '变分界')},
      {kind: 'line', x: weight.t, y: weight.t.map(() => 1), name: 'L_{simple}', dashed: true},
      {kind: 'mark', x: [t.value], y: [1e-3], name: `t = ${t.value}`}]);
    ui.tell(ui.say(`${digits(bits.total, 3)} bits a pixel. Timesteps 0 to ${t.value} cost ${digits(100 * share, 3)} % of them; x_t above shows how much of the picture is gone by then.`,
                   `每像素 ${digits(bits.total, 3)} 比特，其中第 0 到 ${t.value} 步占 ${digits(100 * share, 3)}%；上面的 x_t 就是到那时为止图片的样子。`));
  });
  const run = ui.latest(async () => {
    ui.tell(ui.say('Computing the bound …', '正在计算……'));
    bits = await library.call('bound', {picture: picture.value, count});
    const parts = [[1, 10], [10, 100], [100, 500], [500, model.steps]].filter(([from]) => from < model.steps);
    const between = (from, to) => bits.terms.filter((term) => term.first >= from && term.first < to).reduce((sum, term) => sum + term.bits, 0);
    const name = ([from, to]) => `L_t, t = ${from}–${Math.min(to, model.steps) - 1}`;
    table([ui.say('part', '部分'), ui.say('bits a pixel', '每像素比特')], [
      [ui.say('L_T, the noise at the end', 'L_T，末尾的噪声'), bits.prior.toFixed(4)],
      ...parts.map((part) => [name(part), between(...part).toFixed(3)]).reverse(),
      [ui.say('L_0, the last step', 'L_0，最后一步'), bits.last_step.toFixed(3)], [ui.say('sum', '合计'), bits.total.toFixed(3)]]);
    await show();
  });
  await run();
});

widget('likelihood', async (ui) => {
  const choices = [30, 50, 100, 200, 500, 1000];
  const steps = ui.slider('T', {min: 0, max: choices.length - 1, value: 3, show: (i) => choices[i]}, () => run());
  const sigma = ui.slider(ui.say('σ of the data', '数据的 σ'), {min: 0.1, max: 1, step: 0.1, value: 0.5}, () => run());
  const schedule = ui.choice(ui.say('Schedule', '加噪计划'), [['even', ui.say('log-SNR falls evenly', '对数信噪比均匀下降')], ['cosine', ui.say('cosine', '余弦')], ['linear', ui.say('linear', '线性')]], () => run());
  const chart = ui.chart(ui.say('−log₂ p of 1000 numbers from N(0.3, σ²): bits a number', 'N(0.3, σ²) 的 1000 个数的 −log₂ p：每个数的比特'), {xlabel: 'log₁₀ T', ylabel: ui.say('bits', '比特')});
  const run = ui.latest(async () => {
    const T = [], bound = [];
    let r;
    for (const count of choices.slice(0, steps.value + 1)) {
      r = await library.call('bound_gaussian', {steps: count, sigma: sigma.value, schedule: schedule.value});
      T.push(Math.log10(count));
      bound.push(r.total);
    }
    const top = Math.max(...bound, r.exact + 0.5);
    chart.draw({x: [1.4, 3.1], y: [Math.min(r.exact, 0) - 0.2, top]}, [
      {kind: 'line', x: T, y: bound, name: ui.say('the bound, with the best denoiser', '变分界，用最好的去噪器')},
      {kind: 'dots', x: T, y: bound, radius: 3, colour: 0},
      {kind: 'line', x: [1.4, 3.1], y: [r.exact, r.exact], name: ui.say('exact', '精确值'), dashed: true, colour: 1}]);
    const last = choices[steps.value];
    ui.tell(ui.say(`T = ${last}: exact ${r.exact.toFixed(3)}, bound ${r.total.toFixed(3)} (of which L_T ${r.prior.toFixed(3)}). Too much by ${(r.total - r.exact).toFixed(3)} bits.`,
                   `T = ${last}：精确值 ${r.exact.toFixed(3)}，变分界 ${r.total.toFixed(3)}（其中 L_T ${r.prior.toFixed(3)}），高出 ${(r.total - r.exact).toFixed(3)} 比特。`));
  });
  await run();
});
