// Chapter 2: the sum of two independent Gaussians.
widget('sums', async (ui) => {
  const show = (v) => v.toFixed(2);
  const a = ui.slider('σ_a', {min: 0.05, max: 2, step: 0.05, value: 0.6, show}, () => run());
  const b = ui.slider('σ_b', {min: 0.05, max: 2, step: 0.05, value: 1.2, show}, () => run());
  const claim = ui.choice(ui.say('Compare with', '比较对象'), [
    ['', 'N(0, σ_a² + σ_b²)'], ['mistaken', ui.say('N(0, (σ_a + σ_b)²), a mistake', 'N(0, (σ_a + σ_b)²)，常见的错误')],
  ], () => run());
  let seed = 0;
  ui.button(ui.say('New numbers', '换一批随机数'), () => { ++seed; run(); });
  const parts = ui.chart(ui.say('a and b, 20,000 numbers each', 'a 和 b，各 20000 个数'), {xlabel: ui.say('value', '取值'), ylabel: ui.say('density', '密度')});
  const sum = ui.chart(ui.say('a + b and the claim', 'a + b 与所声称的分布'), {xlabel: ui.say('value', '取值'), ylabel: ui.say('density', '密度')});
  const table = ui.table(ui.say('Measured', '量出来的'));
  const run = ui.latest(async () => {
    const r = await library.call('sums', {sigma_a: a.value, sigma_b: b.value, mistaken: claim.value !== '', seed});
    const n = r.sum.length, x = r.sum.map((_, i) => -r.range + (i + 0.5) * 2 * r.range / n);
    parts.draw({x: [-r.range, r.range], y: [0, Math.max(...r.a, ...r.b) * 1.05]}, [
      {kind: 'bars', x, y: r.a, name: 'a'}, {kind: 'bars', x, y: r.b, name: 'b'}]);
    sum.draw({x: [-r.range, r.range], y: [0, Math.max(...r.sum, ...r.density) * 1.05]}, [
      {kind: 'bars', x, y: r.sum, name: 'a + b', colour: 2}, {kind: 'line', x, y: r.density, name: ui.say('claimed density', '声称的密度'), colour: 3}]);
    table([ui.say('variance of', '方差'), ui.say('measured', '测得'), ui.say('claimed', '声称')], [
      ['a', digits(r.variance_a), ''], ['b', digits(r.variance_b), ''], ['a + b', digits(r.variance_sum), digits(r.expected)]]);
    const {distance, p} = r.test;
    const verdict = p > 0.01 ? ui.say('chance alone often gives as much: no sign against the claim.', '纯属偶然也常有这么大：没有理由反对这个说法。')
                             : ui.say('chance alone almost never gives as much: the claim is wrong.', '偶然几乎不会这么大：这个说法不对。');
    ui.tell(ui.say(`Kolmogorov–Smirnov: largest distance of the two distributions ${digits(distance, 3)}, p = ${digits(p, 3)}; ${verdict}`,
                   `柯尔莫哥洛夫–斯米尔诺夫检验：两个分布的最大距离 ${digits(distance, 3)}，p = ${digits(p, 3)}；${verdict}`));
  });
  await run();
});
