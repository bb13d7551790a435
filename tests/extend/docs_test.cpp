// The documentation is true where a program can check it: code in it stands in a file that is compiled, links lead
// to files, and files that it names exist.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "tests/extend/documents.h"

namespace sfumato {
namespace {

namespace fs = std::filesystem;

using extend::kRoot, extend::lines_of;

std::vector<fs::path> documents() {
  std::vector<fs::path> files;
  for (const fs::path& folder : {kRoot, kRoot / "docs"})
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.path().extension() == ".md") files.push_back(entry.path());
  return files;
}

// With single spaces, and none around it: a document indents and aligns as it likes.
std::string trimmed(const std::string& line) {
  std::string words;
  std::istringstream in(line);
  for (std::string word; in >> word;) words += (words.empty() ? "" : " ") + word;
  return words;
}

// Code of a document, and the file whose lines it repeats: <!-- FILE --> in the line before the block.
struct Excerpt {
  fs::path document, file;
  std::vector<std::string> lines;
};

std::vector<Excerpt> excerpts(const fs::path& document) {
  std::vector<Excerpt> found;
  const std::vector<std::string> lines = lines_of(document);
  for (std::size_t i = 1; i < lines.size(); ++i) {
    if (lines[i] != "```cpp") continue;
    std::smatch match;
    EXPECT_TRUE(std::regex_match(lines[i - 1], match, std::regex("<!-- (\\S+) -->")))
        << document << ", line " << i + 1 << ": expected <!-- FILE --> before the code";
    Excerpt excerpt{document, match.empty() ? fs::path() : kRoot / match[1].str(), {}};
    for (++i; i < lines.size() && lines[i] != "```"; ++i)
      excerpt.lines.push_back(trimmed(lines[i]));
    found.push_back(excerpt);
  }
  return found;
}

TEST(Docs, CodeStandsInFilesThatAreCompiled) {
  int count = 0;
  for (const fs::path& document : documents())
    for (const Excerpt& excerpt : excerpts(document)) {
      std::vector<std::string> source = lines_of(excerpt.file);
      for (std::string& line : source) line = trimmed(line);
      // A line "..." stands for lines that are left out.
      auto from = source.begin();
      for (auto part = excerpt.lines.begin(); part != excerpt.lines.end();) {
        const auto end = std::find(part, excerpt.lines.end(), "...");
        const auto at = std::search(from, source.end(), part, end);
        EXPECT_TRUE(at != source.end() || part == end)
            << excerpt.document << ": not in " << excerpt.file << ":\n"
            << *part << "\n(and the lines after it)";
        from = at == source.end() ? at : at + (end - part);
        part = end == excerpt.lines.end() ? end : end + 1;
      }
      ++count;
    }
  EXPECT_GE(count, 5);
}

TEST(Docs, LinksLeadToFiles) {
  const std::regex link("\\]\\(([^)# ]*)(#[^)]*)?\\)");
  std::vector<fs::path> linking = documents();
  for (const auto& entry : fs::recursive_directory_iterator(kRoot / "exercises"))
    if (entry.path().extension() == ".md") linking.push_back(entry.path());
  for (const fs::path& document : linking)
    for (const std::string& line : lines_of(document))
      for (std::sregex_iterator i(line.begin(), line.end(), link), end; i != end; ++i) {
        const std::string target = (*i)[1];
        if (target.empty() || target.find("://") != std::string::npos) continue;
        EXPECT_TRUE(fs::exists(document.parent_path() / target)) << document << ": " << target;
      }
}

// `tensor/rng.h` in a document is a file of the repository.
TEST(Docs, FilesThatAreNamedExist) {
  const std::regex name(
      "`((tensor|autograd|nn|diffusion|apps|tests|bench|examples|scripts|docs)/[\\w./]*\\w)`");
  for (const fs::path& document : documents())
    for (const std::string& line : lines_of(document))
      for (std::sregex_iterator i(line.begin(), line.end(), name), end; i != end; ++i)
        EXPECT_TRUE(fs::exists(kRoot / (*i)[1].str())) << document << ": " << (*i)[1];
}

}  // namespace
}  // namespace sfumato
