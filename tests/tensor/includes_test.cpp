// The house has one-way doors: tensor <- autograd <- nn <- diffusion <- apps.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

TEST(House, IncludesRunOneWay) {
  const std::vector<std::string> rooms = {"tensor", "autograd", "nn", "diffusion", "apps"};
  int files = 0;
  for (std::size_t room = 0; room < rooms.size(); ++room)
    for (const auto& entry :
         fs::recursive_directory_iterator(fs::path(SFUMATO_SOURCE_DIR) / rooms[room])) {
      if (entry.path().extension() != ".h" && entry.path().extension() != ".cpp") continue;
      ++files;
      std::ifstream in(entry.path());
      for (std::string line; std::getline(in, line);) {
        if (!line.starts_with("#include \"")) continue;
        const std::string target = line.substr(10, line.find('/') - 10);
        const auto door = std::find(rooms.begin(), rooms.end(), target);
        ASSERT_NE(door, rooms.end()) << entry.path() << ": " << line;
        EXPECT_LE(static_cast<std::size_t>(door - rooms.begin()), room)
            << entry.path() << ": " << line;
      }
    }
  EXPECT_GT(files, 50);
}

}  // namespace
