// The library in a worker of its own: it unpacks the page's files into the file system in memory, then answers one
// request after the other. Messages in: {id, call, ...}; out: {ready} or {broken}, {id, part}, {id, result} or {id, error}.
// The page puts emscripten's lesson.js in front of this file.
let current = 0;
addEventListener('unhandledrejection', ({reason}) => postMessage({broken: String(reason)}));
onmessage = async ({data: {files, wasm}}) => {
  const lesson = await createLesson({
    wasmBinary: wasm,
    onPart: (text) => postMessage({id: current, part: JSON.parse(text)}),
    print: () => {},
    printErr: (text) => console.warn(text),
  });
  for (const [path, bytes] of Object.entries(files)) {
    path.split('/').slice(0, -1).reduce((folder, name) => {
      const next = folder + '/' + name;
      if (!lesson.FS.analyzePath(next).exists) lesson.FS.mkdir(next);
      return next;
    }, '');
    lesson.FS.writeFile('/' + path, bytes);
  }
  onmessage = ({data}) => {
    current = data.id;
    const text = lesson.ccall('lesson_call', 'string', ['string'], [JSON.stringify(data)]);
    postMessage({id: data.id, ...JSON.parse(text)});
  };
  postMessage({ready: true});
};
