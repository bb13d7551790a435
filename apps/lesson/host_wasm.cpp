// The lesson's functions as JavaScript sees them (worker.js): lesson_call takes and returns JSON text.
#include <emscripten.h>

#include <nlohmann/json.hpp>

#include "apps/lesson/bridge.h"

namespace sfumato::lesson {

EM_JS(void, emit_text, (const char* text), { Module.onPart(UTF8ToString(text)); });

void emit(const Json& part) { emit_text(part.dump().c_str()); }

}  // namespace sfumato::lesson

// The answer stays valid until the next call.
extern "C" EMSCRIPTEN_KEEPALIVE const char* lesson_call(const char* request) {
  static std::string reply;
  reply = sfumato::lesson::answer(request);
  return reply.c_str();
}
