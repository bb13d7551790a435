// Chapter 11: one noise level in everybody's words.
widget('notation', async (ui) => {
  const model = await library.call('describe');
  const schedule = ui.choice(ui.say('Schedule', '加噪计划'), [['', ui.say("this page's model", '本页的模型')], ['linear', ui.say('linear', '线性')], ['scaled_linear', 'scaled_linear'], ['cosine', ui.say('cosine', '余弦')]], () => run());
  const t = ui.slider('t', {min: 0, max: model.steps - 1, value: Math.round(model.steps / 2)}, () => run());
  const w = ui.slider(ui.say('Guidance w here', '这里的引导 w'), {min: 0, max: 8, step: 0.5, value: 2}, () => run());
  const chart = ui.chart(ui.say('log-SNR along the schedule', '对数信噪比沿加噪计划的变化'), {xlabel: 't', ylabel: 'log-SNR'});
  const table = ui.table(ui.say('The same noise level', '同一个噪声水平'));
  const run = ui.latest(async () => {
    const args = {...(schedule.value ? {schedule: schedule.value, steps: model.steps} : {}), t: t.value, guidance: w.value};
    const r = await library.call('notation', args), curve = await library.call('curve', args);
    const finite = curve.log_snr.map((v) => Math.max(v, -16));
    chart.draw({x: [0, model.steps], y: [-16, 12]}, [
      {kind: 'line', x: curve.t, y: finite, name: 'λ = log(ᾱ / (1−ᾱ))'},
      {kind: 'mark', x: [t.value], y: [0], name: `t = ${t.value}`, colour: 1}], ui.say(`log-SNR ${digits(r.log_snr)} at t = ${t.value}`, `t = ${t.value} 处对数信噪比 ${digits(r.log_snr)}`));
    table([ui.say('who', '谁的说法'), ui.say('symbol', '符号'), ui.say('value', '数值')], [
      [ui.say('DDPM, one step', 'DDPM，一步'), 'β_t', digits(r.beta)], ['', 'α_t = 1 − β_t', digits(r.alpha, 6)],
      [ui.say('DDPM, all steps', 'DDPM，累积'), 'ᾱ_t', digits(r.alpha_bar)],
      [ui.say('in front of x₀', 'x₀ 的系数'), 'a = √ᾱ_t', digits(r.signal)], [ui.say('in front of ε̄', 'ε̄ 的系数'), 'σ = √(1−ᾱ_t)', digits(r.noise)],
      [ui.say('signal-to-noise', '信噪比'), 'a² / σ²', digits(r.snr)], ['', 'λ = log(a² / σ²)', digits(r.log_snr)],
      ['EDM (Karras 2022)', ui.say('σ / a; its x is x_t / a', 'σ / a；它的 x 是 x_t / a'), digits(r.edm_sigma)],
      [ui.say('flow matching', '流匹配'), ui.say('t = σ / (a + σ); its x is x_t / (a + σ)', 't = σ / (a + σ)；它的 x 是 x_t / (a + σ)'), digits(r.flow_t)],
      [ui.say('guidance here and in diffusers', '引导：这里和 diffusers'), 'w', digits(r.guidance_here)],
      [ui.say('guidance in the paper', '引导：原论文'), 'w − 1', digits(r.guidance_paper)]]);
    ui.tell(ui.say('Back from flow matching’s t, the library finds ᾱ = ', '由流匹配的 t 反推，程序库得到 ᾱ = ') + digits(r.alpha_bar_again));
  });
  await run();
});
