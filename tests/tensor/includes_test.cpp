// Includes run one way: tensor <- autograd <- nn <- diffusion <- apps.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

TEST(Includes, RunOneWay) {
  const std::vector<std::string> parts = {"tensor", "autograd", "nn", "diffusion", "apps"};
  int files = 0;
  for (std::size_t part = 0; part < parts.size(); ++part)
    for (const auto& entry :
         fs::recursive_directory_iterator(fs::path(SFUMATO_SOURCE_DIR) / parts[part])) {
      if (entry.path().extension() != ".h" && entry.path().extension() != ".cpp") continue;
      ++files;
      std::ifstream in(entry.path());
      for (std::string line; std::getline(in, line);) {
        if (!line.starts_with("#include \"")) continue;
        const std::string target = line.substr(10, line.find('/') - 10);
        const auto found = std::find(parts.begin(), parts.end(), target);
        ASSERT_NE(found, parts.end()) << entry.path() << ": " << line;
        EXPECT_LE(static_cast<std::size_t>(found - parts.begin()), part)
            << entry.path() << ": " << line;
      }
    }
  EXPECT_GT(files, 50);
}

}  // namespace
