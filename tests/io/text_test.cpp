// Text from strangers on a terminal.
#include "tensor/io/text.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sfumato::io {
namespace {

TEST(Quotes, ShowText) {
  EXPECT_EQ(in_quotes("beta_start"), R"("beta_start")");
  EXPECT_EQ(in_quotes(""), R"("")");
  EXPECT_EQ(in_quotes("a\"\\\n"), R"("a\"\\\n")");
  EXPECT_EQ(in_quotes("h\u00e9risson \u6f22 \U0001f994"), "\"h\u00e9risson \u6f22 \U0001f994\"");
}

TEST(Quotes, EscapeWhatActsOnATerminal) {
  EXPECT_EQ(in_quotes("\x1b[2J\a\x7f"), R"("\u001b[2J\u0007\u007f")");
  EXPECT_EQ(in_quotes("\u009b31m\u0085"), R"("\u009b31m\u0085")");                // 8-bit controls
  EXPECT_EQ(in_quotes("\u202egnp.\u2066\u200f"), R"("\u202egnp.\u2066\u200f")");  // direction
  EXPECT_EQ(in_quotes("\u2028\u200b\ufeff"), R"("\u2028\u200b\ufeff")");
  EXPECT_EQ(in_quotes("\U000e0041"), R"("\U000e0041")");  // a tag, invisible
  EXPECT_EQ(in_quotes(std::string("\0", 1)), R"("\u0000")");
}

TEST(Quotes, EscapeWhatIsNotUtf8) {
  EXPECT_EQ(in_quotes("\xff\x9b"), R"("\xff\x9b")");
  EXPECT_EQ(in_quotes("\xc3"), R"("\xc3")");                  // cut
  EXPECT_EQ(in_quotes("\xc0\x9b"), R"("\xc0\x9b")");          // longer than needed
  EXPECT_EQ(in_quotes("\xe0\x82\x9b"), R"("\xe0\x82\x9b")");  // the same
  EXPECT_EQ(in_quotes("\xed\xa0\x80"), R"("\xed\xa0\x80")");  // half of a pair
  EXPECT_EQ(in_quotes("\xf4\x90\x80\x80"), R"("\xf4\x90\x80\x80")");
}

TEST(Quotes, CutBetweenCharacters) {
  for (const char* piece : {"x", "\n", "\xff", "\u00e9", "\u6f22", "\U0001f994", "\u202e"})
    for (int shift = 0; shift < 8; ++shift) {
      std::string text(static_cast<std::size_t>(shift), 'x');
      for (int i = 0; i < 1000; ++i) text += piece;
      const std::string quoted = in_quotes(text);
      EXPECT_LE(quoted.size(), 104u);
      EXPECT_TRUE(quoted.ends_with("\"...")) << quoted;
      const std::string inside = quoted.substr(1, quoted.size() - 5);
      EXPECT_EQ(printable(inside), inside) << "cut inside a character";
      EXPECT_GE(inside.size(), 89u);
    }
}

TEST(Quotes, Lists) {
  EXPECT_EQ(in_quotes(std::vector<std::string>{}), "");
  EXPECT_EQ(in_quotes(std::vector<std::string>{"a", "b\n"}), R"("a", "b\n")");
  const std::string many = in_quotes(std::vector<std::string>(200, "k"));
  EXPECT_TRUE(many.ends_with("\"k\" and 188 more")) << many;
}

TEST(Printable, KeepsMessages) {
  const std::string message = "[m/h\u00e9/config.json] \"a\\n\": expected 3 (\u2265 1)";
  EXPECT_EQ(printable(message), message);
  EXPECT_EQ(printable("[\x1b]0;x\a.png\n]"), R"([\u001b]0;x\u0007.png\n])");
}

TEST(Printable, KeepsLines) {
  EXPECT_EQ(printable_lines("a\x1b\n\nb\tc\n"), "a\\u001b\n\nb\\tc\n");
  EXPECT_EQ(printable_lines("no end"), "no end");
  EXPECT_EQ(printable_lines(""), "");
}

}  // namespace
}  // namespace sfumato::io
