// Ctrl-C, politely: the first one asks the program to stop at the next safe point, a second one
// ends it at once.
#pragma once

namespace sfumato::apps {

void catch_interrupts();  // SIGINT and SIGTERM
bool interrupted();

}  // namespace sfumato::apps
