#include "tensor/io/json.h"

#include <cmath>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "tests/io/io_test.h"

namespace sfumato::io {
namespace {

using JsonTest = IoTest;

JsonObject parse(std::string_view text) { return {parse_json(text, "c.json"), "c.json"}; }

TEST_F(JsonTest, TypedAccess) {
  const JsonObject c = parse(R"({"i": -3, "x": 2.5, "b": true, "s": "text", "is": [1, 2],
                                 "xs": [1, 0.5], "ss": ["a", "b"], "o": {"k": 1}, "n": null})");
  EXPECT_EQ(c.get_int("i"), -3);
  EXPECT_EQ(c.get_number("x"), 2.5);
  EXPECT_EQ(c.get_number("i"), -3.0);
  EXPECT_TRUE(c.get_bool("b"));
  EXPECT_EQ(c.get_string("s"), "text");
  EXPECT_EQ(c.get_ints("is"), (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(c.get_numbers("xs"), (std::vector<double>{1, 0.5}));
  EXPECT_EQ(c.get_strings("ss"), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(c.get_object("o").get_int("k"), 1);
  EXPECT_TRUE(c.contains("i"));
  EXPECT_FALSE(c.contains("n"));
  EXPECT_FALSE(c.contains("missing"));
}

TEST_F(JsonTest, FallbacksServeMissingAndNull) {
  const JsonObject c = parse(R"({"n": null, "i": 1})");
  for (const char* key : {"n", "missing"}) {
    EXPECT_EQ(c.get_int(key, 7), 7);
    EXPECT_EQ(c.get_number(key, 0.5), 0.5);
    EXPECT_TRUE(c.get_bool(key, true));
    EXPECT_EQ(c.get_string(key, "f"), "f");
    EXPECT_EQ(c.get_ints(key, {4}), std::vector<std::int64_t>{4});
    EXPECT_EQ(c.get_numbers(key, {}), std::vector<double>{});
    EXPECT_EQ(c.get_strings(key, {"z"}), std::vector<std::string>{"z"});
  }
  EXPECT_EQ(c.get_int("i", 7), 1);
  expect_error("c.json", R"("i": expected a string, got the number 1)",
               [&] { c.get_string("i", "f"); });
}

TEST_F(JsonTest, WrongTypesAreNamed) {
  const JsonObject c = parse(R"({"s": "big", "x": 3.0, "huge": 18446744073709551615, "a": [1, "q"],
                                 "o": {"k": []}, "n": null})");
  const std::pair<std::string, std::function<void()>> cases[] = {
      {R"("s": expected a whole number, got the string "big")", [&] { c.get_int("s"); }},
      {R"("x": expected a whole number, got the number 3.0)", [&] { c.get_int("x"); }},
      {R"("huge": expected a whole number)", [&] { c.get_int("huge"); }},
      {R"("n": expected a number, got null)", [&] { c.get_number("n"); }},
      {R"("a"[1]: expected a whole number, got the string "q")", [&] { c.get_ints("a"); }},
      {R"("s": expected an array)", [&] { c.get_strings("s"); }},
      {R"("o": expected true or false, got an object)", [&] { c.get_bool("o"); }},
      {R"("absent" is missing, expected a string)", [&] { c.get_string("absent"); }},
      {R"("absent" is missing, expected an object)", [&] { c.get_object("absent"); }},
      {R"("s"] expected a JSON object, got the string)", [&] { c.get_object("s"); }},
      {R"("o"] "k": expected a number, got an array of 0)",
       [&] { c.get_object("o").get_number("k"); }},
  };
  for (const auto& [text, f] : cases) expect_error("c.json", text, f);
  expect_error("c.json", "expected a JSON object", [] { parse("[1]"); });
}

TEST_F(JsonTest, RefusesWhatIsNotStrictJson) {
  for (const char* text : {"",
                           " ",
                           "{",
                           "{\"a\":}",
                           "{\"a\":1} x",
                           "{\"a\":1}{}",
                           "{'a':1}",
                           "{\"a\":nan}",
                           "{\"a\":-NaN}",
                           "{\"a\":Infinity8}",
                           "{\"a\":Inf}",
                           "{\"a\":--Infinity}",
                           "{NaN:1}",
                           "{\"a\":+Infinity}",
                           "{\"a\":\"NaN\"\"}",
                           "{\"a\":1e999}",
                           "[1,]",
                           "{\"a\":1,}",
                           "01",
                           "\"\xff\"",
                           "// c\n1",
                           "{\"a\":\"\n\"}",
                           "nul"})
    expect_error("c.json", "expected JSON: ", [&] { parse_json(text, "c.json"); });
  expect_error("c.json", R"(the key "a" stands twice)",
               [] { parse_json(R"({"b":{"a":1},"a":1,"a":2})", "c.json"); });
  parse_json(R"([{"a":1},{"a":2},{"a":{"a":3}}])", "c.json");
  expect_error("c.json", "at most 4 bytes", [] { parse_json("[1,2]", "c.json", 4); });
}

// What json.dumps of Python writes for numbers that are not finite.
TEST_F(JsonTest, ReadsPythonsWords) {
  const JsonObject c = parse(
      R"({"Infinity": "NaN", "q": "\\\"Infinity", "a": [1, -Infinity, 2.5e-1, NaN, true], "b":Infinity,
          "c": {"d": -3}, "e": [NaN,-7]})");
  EXPECT_EQ(c.get_string("Infinity"), "NaN");
  EXPECT_EQ(c.get_string("q"), "\\\"Infinity");
  const Json& a = c.json().at("a");
  EXPECT_EQ(a[0], 1);
  EXPECT_EQ(a[1].get<double>(), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(a[2], 0.25);
  EXPECT_TRUE(std::isnan(a[3].get<double>()));
  EXPECT_EQ(c.json().at("b").get<double>(), std::numeric_limits<double>::infinity());
  EXPECT_EQ(c.get_object("c").get_int("d"), -3);
  EXPECT_EQ(c.json().at("e")[1], -7);
  expect_error("c.json", R"("b": expected a finite number, got Infinity)",
               [&] { c.get_number("b"); });
  expect_error("c.json", R"("b": expected a whole number, got Infinity)", [&] { c.get_int("b"); });
  expect_error("c.json", R"("a"[1]: expected a finite number, got -Infinity)",
               [&] { c.get_numbers("a"); });
  expect_error("c.json", R"("e"[0]: expected a finite number, got NaN)",
               [&] { c.get_numbers("e"); });
}

TEST_F(JsonTest, NumberOfValuesIsLimited) {
  const auto list = [](std::size_t n) {
    std::string text = "[";
    for (std::size_t i = 0; i < n; ++i) text += "0,";
    text.back() = ']';
    return text;
  };
  EXPECT_EQ(parse_json(list(kMaxJsonValues - 1), "c.json").size(), kMaxJsonValues - 1);
  expect_error("c.json", "at most 1000000 JSON values",
               [&] { parse_json(list(kMaxJsonValues), "c.json"); });
}

TEST_F(JsonTest, DepthIsLimited) {
  const auto nested = [](int n) { return std::string(n, '[') + std::string(n, ']'); };
  parse_json(nested(kMaxJsonDepth), "c.json");
  expect_error("c.json", "nested deeper than 64",
               [&] { parse_json(nested(kMaxJsonDepth + 1), "c.json"); });
  expect_error("c.json", "nested deeper", [] { parse_json(std::string(1 << 20, '['), "c.json"); });
}

TEST_F(JsonTest, TimeIsNotQuadraticInTheMembers) {
  std::string text = "{";
  for (int i = 0; i < 200000; ++i) text += "\"" + std::to_string(i) + "\":{},";
  text.back() = '}';
  EXPECT_EQ(parse_json(text, "c.json").size(), 200000u);  // a quadratic parser takes minutes
}

TEST_F(JsonTest, FilesRoundTrip) {
  const Json json = {{"name", "\u00e9"}, {"sizes", {1, 2}}};
  write_json(at("c.json"), json);
  EXPECT_EQ(read_json(at("c.json")), json);
  EXPECT_EQ(JsonObject::read(at("c.json")).get_ints("sizes").size(), 2u);
  expect_error("c.json", "not valid UTF-8", [&] { write_json(at("c.json"), Json("\xff")); });
  EXPECT_EQ(read_json(at("c.json")), json);
  expect_error("absent.json", "no such file", [&] { read_json(at("absent.json")); });
}

TEST_F(JsonTest, DamageNeverCrashes) {
  const std::string text =
      R"({"block_out_channels": [128, 256], "act_fn": "silu", "x": {"y": 1.5e-3}})";
  survive_damage(text, "c.json", 600, [](const std::string& s) { parse(s); });
}

}  // namespace
}  // namespace sfumato::io
