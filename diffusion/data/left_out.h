// What a loader does not read, counted by kind, so that nothing is left out silently.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace sfumato::data {

class LeftOut {
 public:
  // `kind` in the plural ("links to nothing"), `example` the name of one.
  void add(const std::string& kind, const std::string& example, std::int64_t count = 1);
  void add(const LeftOut& other);
  bool empty() const { return kinds_.empty(); }
  // `links to nothing: 2 ("3.png"), ".bmp" files: 6 ("0.bmp")`, in the order they were met; of more
  // than twelve kinds the rest is counted together.
  std::string text() const;

 private:
  struct Kind {
    std::string kind, example;
    std::int64_t count;
  };
  std::vector<Kind> kinds_;
};

}  // namespace sfumato::data
