#include "apps/interrupt.h"

#include <csignal>
#include <initializer_list>

namespace sfumato::apps {
namespace {

volatile std::sig_atomic_t asked = 0;

void on_signal(int) { asked = 1; }

}  // namespace

void catch_interrupts() {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action {};
    if (::sigaction(number, nullptr, &action) != 0 || action.sa_handler == SIG_IGN) continue;
    action.sa_handler = on_signal;
    sigemptyset(&action.sa_mask);
    action.sa_flags = number == SIGHUP ? SA_RESTART : static_cast<int>(SA_RESTART | SA_RESETHAND);
    ::sigaction(number, &action, nullptr);
  }
}

bool interrupted() { return asked != 0; }

}  // namespace sfumato::apps
