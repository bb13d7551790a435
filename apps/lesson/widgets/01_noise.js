// Chapter 1: noise added step by step, with and without √α in front.
widget('noise', async (ui) => {
  const model = await library.call('describe');
  const kind = ui.choice(ui.say('Step', '每一步'), [
    ['naive', ui.say('x + σ ε (naively)', 'x + σ ε（朴素做法）')],
    ['linear', ui.say('√α x + √(1−α) ε, linear β', '√α x + √(1−α) ε，线性 β')],
    ['cosine', ui.say('√α x + √(1−α) ε, cosine', '√α x + √(1−α) ε，余弦')],
  ], () => run());
  const t = ui.slider(ui.say('Steps t', '步数 t'), {min: 0, max: 1000, value: 200}, () => run());
  const sigma = ui.slider(ui.say('σ of a naive step', '朴素一步的 σ'), {min: 0.02, max: 1, step: 0.02, value: 0.1}, () => run());
  const picture = ui.slider(ui.say('Picture', '图片'), {min: 0, max: 99, value: 3}, () => run());
  const shown = ui.picture(ui.say('x_t (clipped to black and white)', 'x_t（超出黑白的部分截掉）'), ui.stage, model);
  const variance = ui.chart(ui.say('Variance over the pixels after each step', '每一步之后像素的方差'), {xlabel: 't', ylabel: ui.say('variance', '方差')});
  const values = ui.chart(ui.say('The pixels of x_t beside N(0, 1)', 'x_t 的像素与 N(0, 1)'), {xlabel: ui.say('value', '取值'), ylabel: ui.say('density', '密度')});
  const run = ui.latest(async () => {
    const naive = kind.value === 'naive';
    const args = {naive, sigma: sigma.value, schedule: naive ? 'linear' : kind.value, picture: picture.value};
    const r = await library.call('walk', {...args, t: t.value});
    const until = await library.call('until_noise', args);
    shown.draw(r.x, ui.say(`The picture after ${t.value} steps`, `${t.value} 步之后的图`));
    const steps = r.variance.map((_, i) => i);
    variance.draw({x: [0, Math.max(t.value, 1)], y: [0, Math.max(1.5, ...r.variance) * 1.1]}, [
      {kind: 'line', x: steps, y: r.variance, name: ui.say('variance', '方差')},
      {kind: 'line', x: [0, Math.max(t.value, 1)], y: [1, 1], dashed: true, name: '1'},
    ]);
    const n = r.histogram.length, x = r.histogram.map((_, i) => -r.range + (i + 0.5) * 2 * r.range / n);
    values.draw({x: [-r.range, r.range], y: [0, Math.min(2, Math.max(0.45, ...r.histogram) * 1.05)]}, [
      {kind: 'bars', x, y: r.histogram, name: ui.say('pixels', '像素')},
      {kind: 'line', x, y: r.density, name: 'N(0, 1)'},
    ]);
    const last = digits(r.variance.at(-1)), mean = digits(r.mean.at(-1), 3);
    ui.tell(ui.say(`After ${t.value} steps: mean ${mean}, variance ${last}. The picture has less than 1 % of the variance `,
                   `${t.value} 步之后：均值 ${mean}，方差 ${last}。图片占方差不到 1% `) +
            (until ? ui.say(`from step ${until} on.`, `是从第 ${until} 步开始。`) : ui.say('never within this schedule.', '在这个加噪计划内不会发生。')));
  });
  await run();
});
