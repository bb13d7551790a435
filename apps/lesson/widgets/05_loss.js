// Chapter 5: the loss at each t beside what can be reached.
widget('loss', async (ui) => {
  const model = await library.call('describe');
  let seed = 0;
  const points = ui.slider(ui.say('Points', '点数'), {min: 3, max: 16, value: 7});
  ui.button(ui.say('Measure', '测量'), () => { ++seed; run(); });
  const chart = ui.chart(ui.say('Mean of ‖ε̄ − ε̂‖² a pixel, on 48 pictures that the model never saw', '每个像素的 ‖ε̄ − ε̂‖² 平均值，48 张模型没见过的图'),
                         {xlabel: 't', ylabel: ui.say('loss', '损失'), log: true});
  const table = ui.table(ui.say('The same as numbers', '同样内容的数字'));
  const linear = model.linear === 'full' ? ui.say('best linear denoiser', '最好的线性去噪器') : ui.say('best linear denoiser, each pixel alone', '最好的逐像素线性去噪器');
  if (model.run?.step.length) {
    const past = ui.chart(ui.say(`The loss of ${model.run.name} while it was trained`, `${model.run.name} 训练时的损失`), {xlabel: ui.say('step', '步'), ylabel: ui.say('loss', '损失')});
    past.draw({x: [0, model.run.step.at(-1)], y: [0, Math.max(...model.run.loss)]}, [{kind: 'line', x: model.run.step, y: model.run.loss, name: ui.say('smoothed loss', '平滑后的损失')}]);
  }
  const run = ui.latest(async () => {
    const rows = [], n = points.value;
    for (let i = 0; i < n; ++i) {
      rows.push(await library.call('loss', {t: Math.round((0.01 + 0.98 * i / (n - 1)) * (model.steps - 1)), seed}));
      const t = rows.map((r) => r.t), line = (key, name, dashed) => ({kind: 'line', x: t, y: rows.map((r) => r[key]), name, dashed});
      chart.draw({x: [0, model.steps], y: [1e-5, 2]}, [
        line('model', ui.say('the model', '模型')),
        line('linear', linear, true),
        line('constant', ui.say('best constant', '最好的常数'), true)]);
      table(['t', ui.say('model', '模型'), ui.say('linear', '线性'), ui.say('constant', '常数'), ui.say('signal-to-noise ᾱ/(1−ᾱ)', '信噪比 ᾱ/(1−ᾱ)')],
            rows.map((r) => [r.t, digits(r.model, 3), digits(r.linear, 3), digits(r.constant, 3), digits(r.snr, 3)]));
      ui.tell(ui.say(`${i + 1} of ${n} noise levels measured`, `已测 ${n} 个噪声水平中的 ${i + 1} 个`));
    }
    const better = rows.filter((r) => r.model < r.linear).length;
    ui.tell(ui.say(`At ${better} of ${n} noise levels the model beats the best linear denoiser.`, `在 ${n} 个噪声水平中，模型有 ${better} 个胜过最好的线性去噪器。`));
  });
  await run();
});
