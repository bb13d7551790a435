// docs/lesson_map.md is complete and true: every formula of docs/lesson.md is in it, and what it names exists. And the
// two languages of the lesson show the same code and pictures.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "tests/extend/documents.h"

namespace sfumato {
namespace {

namespace fs = std::filesystem;

using extend::kRoot, extend::lines_of, extend::text_of;

// The formulas of a document: its lines that begin with "> ".
std::set<std::string> formulas(const fs::path& document) {
  std::set<std::string> found;
  for (const std::string& line : lines_of(document))
    if (line.starts_with("> ")) found.insert(line.substr(2));
  return found;
}

// Each formula of the map with what is said of it: {"function", "`q_step` in [...](...)"}, ...
std::map<std::string, std::map<std::string, std::string>> lesson_map() {
  std::map<std::string, std::map<std::string, std::string>> map;
  std::string formula;
  const std::regex field("- ([a-z ]+): (.*)");
  for (const std::string& line : lines_of(kRoot / "docs/lesson_map.md")) {
    std::smatch match;
    if (line.starts_with("> ")) formula = line.substr(2);
    if (std::regex_match(line, match, field)) map[formula][match[1]] = match[2];
  }
  return map;
}

std::string matched(const std::string& text, const char* pattern) {
  std::smatch match;
  return std::regex_search(text, match, std::regex(pattern)) ? match[1].str() : "";
}

// All tests' names, "Suite.Test".
std::set<std::string> test_names() {
  std::set<std::string> names;
  const std::regex test("TEST(?:_P|_F)?\\((\\w+), (\\w+)\\)");
  for (const auto& entry : fs::recursive_directory_iterator(kRoot / "tests")) {
    if (entry.path().extension() != ".cpp") continue;
    const std::string text = text_of(entry.path());
    for (std::sregex_iterator i(text.begin(), text.end(), test), end; i != end; ++i)
      names.insert((*i)[1].str() + "." + (*i)[2].str());
  }
  return names;
}

TEST(LessonMap, HasEveryFormulaOfTheLesson) {
  const auto map = lesson_map();
  const std::set<std::string> lesson = formulas(kRoot / "docs/lesson.md");
  EXPECT_GE(lesson.size(), 8u);
  for (const std::string& formula : lesson)
    EXPECT_TRUE(map.count(formula)) << "not in the map: " << formula;
}

TEST(LessonMap, NamesWhatExists) {
  const std::set<std::string> tests = test_names();
  const std::string lesson = text_of(kRoot / "docs/lesson.md");
  for (auto [formula, says] : lesson_map()) {
    const std::string function = matched(says["function"], "`(\\w+)`"),
                      file = matched(says["function"], "\\[(\\S+)\\]");
    EXPECT_TRUE(!function.empty() && text_of(kRoot / file).find(function) != std::string::npos)
        << formula << ": " << function << " is not in " << file;
    EXPECT_TRUE(tests.count(matched(says["test"], "`([\\w.]+)`")))
        << formula << ": no test is called " << says["test"];
    EXPECT_TRUE(fs::is_regular_file(kRoot / "docs" / matched(says["picture"], "\\((\\S+)\\)")))
        << formula << ": " << says["picture"];
    EXPECT_NE(lesson.find("## " + says["section"] + "\n"), std::string::npos)
        << formula << ": " << says["section"];
    EXPECT_TRUE(std::regex_match(says["chapter of the page"], std::regex("[1-9]|1[0-2]")))
        << formula;
    EXPECT_TRUE(fs::exists(kRoot / "docs" / matched(says["exercise"], "\\((\\S+)\\)"))) << formula;
  }
}

// What both languages must have in common, in order: code with its file, pictures and formulas.
std::vector<std::string> common(const fs::path& document) {
  std::vector<std::string> found;
  bool code = false;
  for (const std::string& line : lines_of(document)) {
    if (line.starts_with("```")) code = !code;
    if (code || line.starts_with("<!-- ") || line.starts_with("> ")) found.push_back(line);
    if (line.starts_with("![")) found.push_back(matched(line, "\\]\\((\\S+)\\)"));
  }
  return found;
}

TEST(Lesson, IsTheSameInBothLanguages) {
  EXPECT_EQ(common(kRoot / "docs/lesson.md"), common(kRoot / "docs/lesson.zh.md"));
}

}  // namespace
}  // namespace sfumato
