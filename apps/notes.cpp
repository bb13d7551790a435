#include "apps/notes.h"

#include <cstdio>

#include "tensor/io/text.h"

namespace sfumato::apps {

void print_notes(const std::vector<std::string>& notes) {
  for (const std::string& note : notes)  // work goes on when nobody can read this
    if (std::fputs(("note: " + io::printable(note) + "\n").c_str(), stderr) < 0)
      std::clearerr(stderr);
}

}  // namespace sfumato::apps
