// Includes run one way: tensor <- autograd <- nn <- diffusion <- apps, and between the rooms of diffusion. cuda uses
// tensor, and tensor/for_each.h alone uses cuda.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

struct Room {
  std::string folder;
  std::vector<std::string> uses;  // besides itself
};
// A room within another one comes before it.
const std::vector<Room> kRooms = {
    {"tensor", {}},
    {"cuda", {"tensor"}},
    {"autograd", {"tensor"}},
    {"nn", {"tensor", "autograd"}},
    {"diffusion/data", {"tensor"}},
    {"diffusion/eval", {"tensor", "autograd", "nn", "diffusion/data"}},
    {"diffusion", {"tensor", "autograd", "nn", "diffusion/data"}},
    {"apps", {"tensor", "autograd", "nn", "diffusion", "diffusion/data", "diffusion/eval"}},
};

// The room of a file, given by its path from the root; nullptr for none.
const Room* room_of(const std::string& file) {
  const auto found = std::find_if(kRooms.begin(), kRooms.end(),
                                  [&](const Room& r) { return file.starts_with(r.folder + "/"); });
  return found == kRooms.end() ? nullptr : &*found;
}

TEST(Includes, RunOneWay) {
  const fs::path root = SFUMATO_SOURCE_DIR;
  int files = 0;
  for (const char* part : {"tensor", "cuda", "autograd", "nn", "diffusion", "apps"})
    for (const auto& entry : fs::recursive_directory_iterator(root / part)) {
      const std::string extension = entry.path().extension();
      if (extension != ".h" && extension != ".cpp" && extension != ".cu") continue;
      ++files;
      const std::string file = entry.path().lexically_relative(root).string();
      const Room* from = room_of(file);
      ASSERT_NE(from, nullptr) << entry.path();
      std::ifstream in(entry.path());
      for (std::string line; std::getline(in, line);) {
        if (!line.starts_with("#include \"")) continue;
        const Room* to = room_of(line.substr(10));
        ASSERT_NE(to, nullptr) << entry.path() << ": " << line;
        if (file == "tensor/for_each.h" && to->folder == "cuda") continue;
        EXPECT_TRUE(to == from || std::count(from->uses.begin(), from->uses.end(), to->folder))
            << entry.path() << ": " << line;
      }
    }
  EXPECT_GT(files, 50);
}

// What is computed does not ask where: that is decided in tensor/ and cuda/.
TEST(Devices, AreNotToldApartAboveTensors) {
  const fs::path root = SFUMATO_SOURCE_DIR;
  for (const char* part : {"autograd", "nn", "diffusion", "apps"})
    for (const auto& entry : fs::recursive_directory_iterator(root / part)) {
      if (!entry.is_regular_file()) continue;
      std::ifstream in(entry.path());
      for (std::string line; std::getline(in, line);)
        for (const char* word :
             {"Device::cuda", "== Device::", "!= Device::", "SFUMATO_CUDA", "__CUDACC__"})
          EXPECT_EQ(line.find(word), std::string::npos) << entry.path() << ": " << line;
    }
}

}  // namespace
