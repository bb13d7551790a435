// JSON text, every getter on every key, and the options that a run's record holds.
#include "tensor/io/json.h"

#include <nlohmann/json.hpp>

#include "apps/train_options.h"
#include "tests/fuzz/common.h"

using namespace sfumato;

namespace {

void read_every_way(const io::JsonObject& object, const std::string& key) {
  fuzz::accepted([&] { object.get_int(key); });
  fuzz::accepted([&] { object.get_number(key); });
  fuzz::accepted([&] { object.get_bool(key); });
  fuzz::accepted([&] { object.get_string(key); });
  fuzz::accepted([&] { object.get_ints(key); });
  fuzz::accepted([&] { object.get_numbers(key); });
  fuzz::accepted([&] { object.get_strings(key); });
  fuzz::accepted([&] { object.get_object(key); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz::as_text(data, size);
  fuzz::require_printable(io::in_quotes(text));
  fuzz::accepted([&] {
    const io::Json json = io::parse_json(text, "file");
    const io::Json again = io::parse_json(json.dump(), "file");
    fuzz::require(again.dump() == json.dump());
    if (!json.is_object()) return;
    const io::JsonObject object(json, "file");
    for (const auto& item : json.items()) read_every_way(object, item.key());
    const io::Json record = apps::to_json(apps::parse_train_options(object));
    const io::JsonObject recorded(record, "file");
    fuzz::require(apps::to_json(apps::parse_train_options(recorded)) == record);
  });
  return 0;
}
