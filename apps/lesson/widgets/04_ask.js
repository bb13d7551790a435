// Chapter 4: what the network is asked, and what it answers.
widget('ask', async (ui) => {
  const model = await library.call('describe');
  const t = ui.slider('t', {min: 0, max: model.steps - 1, value: Math.round(model.steps * 0.5)}, () => run());
  const picture = ui.slider(ui.say('Picture', '图片'), {min: 0, max: 99, value: 7}, () => run());
  const told = ui.check(ui.say('tell it the class', '告诉它类别'), false, () => run());
  let seed = 0;
  ui.button(ui.say('New noise', '换一份噪声'), () => { ++seed; run(); });
  const shown = {
    x0: ui.picture('x₀', ui.stage, model),
    eps: ui.picture(ui.say('ε̄, the true noise', 'ε̄，真正的噪声'), ui.stage, model),
    xt: ui.picture(ui.say('x_t, all that it sees', 'x_t，网络只看得见它'), ui.stage, model),
    eps_hat: ui.picture(ui.say('ε_θ, its answer', 'ε_θ，它的回答'), ui.stage, model),
    x0_hat: ui.picture(ui.say('x̂₀ that follows from it', '由此推出的 x̂₀'), ui.stage, model),
  };
  const strip = ui.add(ui.stage, 'div', {class: 'strip'});
  const at = [0.05, 0.2, 0.4, 0.6, 0.75, 0.88, 0.95, 1].map((share) => {
    const time = Math.round(share * (model.steps - 1));
    return {time, picture: ui.picture(`x̂₀, t = ${time}`, strip, model)};
  });
  const run = ui.latest(async () => {
    const [{label}] = await library.call('show', {picture: picture.value, count: 1});
    const args = {picture: picture.value, seed, ...(told.value && model.classes.length ? {label} : {})};
    const r = await library.call('ask', {...args, t: t.value});
    for (const [key, place] of Object.entries(shown)) place.draw(r[key]);
    ui.tell(ui.say(`x_t = ${digits(r.signal, 3)} x₀ + ${digits(r.noise, 3)} ε̄. Mean squared error of ε_θ: ${digits(r.eps_error, 3)}, of x̂₀: ${digits(r.x0_error, 3)}.`,
                   `x_t = ${digits(r.signal, 3)} x₀ + ${digits(r.noise, 3)} ε̄。均方误差：ε_θ ${digits(r.eps_error, 3)}，x̂₀ ${digits(r.x0_error, 3)}。`));
    for (const {time, picture: place} of at) {
      const {x0_hat, x0_error} = await library.call('ask', {...args, t: time});
      place.draw(x0_hat, ui.say(`Estimate from t = ${time}, error ${digits(x0_error, 2)}`, `从 t = ${time} 的估计，误差 ${digits(x0_error, 2)}`));
    }
  });
  await run();
});
