// Ctrl-C, politely: the first one asks the program to stop at the next safe point, a second one
// ends it at once. SIGTERM is the same. So is SIGHUP, sent when the terminal closes, except that it
// never ends the program: shell and system may both send it.
#pragma once

namespace sfumato::apps {

// Signals that whoever started the program let it ignore (nohup, a script's `&`) stay ignored.
void catch_interrupts();
bool interrupted();

}  // namespace sfumato::apps
