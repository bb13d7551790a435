// The first thing to try: the model draws one class.
widget('digit', async (ui) => {
  const model = await library.call('describe');
  const label = ui.choice(ui.say('Draw', '画'), model.classes.map((c) => [c.label, c.name]), () => run());
  label.value = (model.classes[3] ?? model.classes[0] ?? {label: 0}).label;
  let seed = 0;
  ui.button(ui.say('Another', '再画一个'), () => { ++seed; run(); });
  const shown = ui.picture(ui.say('x_t: what the sampler holds', 'x_t：采样器手里的图'), ui.stage, model);
  const guess = ui.picture(ui.say('x̂₀: what the network makes of it', 'x̂₀：网络此刻的猜测'), ui.stage, model);
  const run = ui.latest(async () => {
    const begin = performance.now();
    await library.call('draw', {label: +label.value, seed}, ({step, t, x, x0}) => {
      shown.draw(x);
      guess.draw(x0);
      ui.tell(`t = ${t}`);
    });
    const seconds = digits((performance.now() - begin) / 1000, 2);
    const whose = model.run ? `${model.run.name}: ` : '';
    ui.tell(whose + ui.say(`${digits(model.parameters / 1e6, 2)} M parameters, 20 steps of DDIM with guidance ${model.guidance}: ${seconds} s in this browser.`,
                   `${digits(model.parameters / 1e6, 2)} M 参数，DDIM 20 步，引导 ${model.guidance}：在这个浏览器里用了 ${seconds} 秒。`));
    const name = label.select.selectedOptions[0]?.text;
    shown.canvas.setAttribute('aria-label', ui.say(`A drawn picture, asked for: ${name}`, `画出的图，要求是：${name}`));
  });
  await run();
});
