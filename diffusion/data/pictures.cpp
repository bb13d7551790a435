#include "diffusion/data/pictures.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <utility>

#include "tensor/error.h"
#include "tensor/io/budget.h"
#include "tensor/io/file.h"
#include "tensor/io/json.h"
#include "tensor/io/picture.h"
#include "tensor/io/resize.h"
#include "tensor/parallel.h"

namespace sfumato::data {
namespace {

namespace fs = std::filesystem;

class Reader {
 public:
  Reader(const fs::path& directory, const std::vector<fs::path>& files,
         const io::Background& background, const std::optional<io::Extent>& size)
      : directory_(directory),
        files_(files),
        background_(background),
        size_(size),
        headers_(files.size()),
        errors_(files.size()),
        transparent_(files.size()) {}

  Pictures read() {
    each_file([&](std::size_t i, const std::string& where, const std::string& bytes) {
      headers_[i] = io::read_picture_header(where, bytes, background_);
    });
    expect_trainable();
    const bool all_good = bad() == 0;
    if (all_good) allocate();
    each_file([&](std::size_t i, const std::string& where, const std::string& bytes) {
      if (errors_[i].empty()) decode(i, where, bytes);
    });
    if (bad() > 0) throw refusal();
    add_notes();
    return std::move(result_);
  }

 private:
  // Calls f(i, name, content) for every file; an Error it throws becomes that file's.
  template <class F>
  void each_file(const F& f) {
    parallel_for(static_cast<std::int64_t>(files_.size()), [&](std::int64_t n) {
      const auto i = static_cast<std::size_t>(n);
      if (!errors_[i].empty()) return;
      try {
        const std::string where = files_[i].string();
        f(i, where, io::read_file(files_[i], io::kMaxPictureBytes));
      } catch (const Error& e) {
        errors_[i] = e.what();
      }
    });
  }

  std::int64_t bad() const {
    return std::count_if(errors_.begin(), errors_.end(), [](auto& e) { return !e.empty(); });
  }

  // By the headers alone: what is too large is not even decoded to see whether it is whole.
  void expect_trainable() const {
    const auto large = [](std::int64_t height, std::int64_t width) {
      return height > 0 && width > kMaxTrainingPixels / height;
    };
    if (size_ && large(size_->height, size_->width))
      throw Error("size", fmt::format("expected at most {} pixels, got {} x {}", kMaxTrainingPixels,
                                      size_->height, size_->width));
    if (size_) return;
    const std::string found =
        which([&](std::size_t i) { return large(headers_[i].height, headers_[i].width); });
    if (!found.empty())
      throw Error(directory_.string(), fmt::format("{}: expected at most {} pixels each; --size "
                                                   "H,W makes them smaller",
                                                   found, kMaxTrainingPixels));
  }

  // The tensor, once the headers agree on what its shape is.
  void allocate() {
    if (!size_) expect_one_size();
    const io::Extent extent = size_.value_or(io::Extent{headers_[0].height, headers_[0].width});
    const bool color =
        std::any_of(headers_.begin(), headers_.end(), [](auto& h) { return h.channels == 3; });
    const auto count = static_cast<std::int64_t>(files_.size());
    const Shape shape{count, extent.height, extent.width, color ? 3 : 1};
    io::expect_within_budget(directory_.string(), static_cast<std::uint64_t>(count),
                             static_cast<std::uint64_t>(shape.size() / count));
    result_.images = Tensor(shape, DType::u8);
  }

  void expect_one_size() const {
    struct Group {
      std::int64_t count;
      std::string example;
    };
    std::map<std::pair<std::int64_t, std::int64_t>, Group> groups;
    for (std::size_t i = 0; i < files_.size(); ++i) {
      Group& g = groups.try_emplace({headers_[i].height, headers_[i].width}, Group{0, name(i)})
                     .first->second;
      ++g.count;
    }
    if (groups.size() == 1) return;
    constexpr std::size_t kMost = 3;
    std::string list;
    std::size_t listed = 0;
    for (const auto& [extent, group] : groups) {
      if (listed++ == kMost) break;
      list += fmt::format("{}{} x {} ({} of them, as {})", list.empty() ? "" : ", ", extent.first,
                          extent.second, group.count, io::in_quotes(group.example));
    }
    if (groups.size() > kMost) list += fmt::format(" and {} more", groups.size() - kMost);
    throw Error(directory_.string(),
                fmt::format("pictures of {} sizes (height x width): {}; expected one size: "
                            "--size N or --size H,W crops and resizes them",
                            groups.size(), list));
  }

  // Without a result (some other file is bad), only to see whether this one can be read.
  void decode(std::size_t i, const std::string& where, const std::string& bytes) {
    io::Picture picture = io::read_picture(where, bytes, background_);
    const io::PictureHeader& header = headers_[i];
    if (picture.pixels.shape() != Shape{header.height, header.width, header.channels})
      throw Error(where, "the file changed while it was read");
    transparent_[i] = picture.transparent;
    if (!result_.images.defined()) return;
    if (size_) picture.pixels = io::fit_to(picture.pixels, *size_);
    const auto n = static_cast<std::int64_t>(i);
    auto* to = result_.images.slice(n, n + 1).data<std::uint8_t>();
    const auto values = std::as_const(picture.pixels).values<std::uint8_t>();
    if (header.channels == result_.images.dim(3)) {
      std::copy(values.begin(), values.end(), to);
    } else {
      for (std::uint8_t v : values) to = std::fill_n(to, 3, v);
    }
  }

  Error refusal() const {
    constexpr std::size_t kMost = 8;
    const auto count = static_cast<std::size_t>(bad());
    std::string list;
    std::size_t listed = 0;
    for (const std::string& e : errors_) {
      if (e.empty() || listed++ >= kMost) continue;
      list += (list.empty() ? "" : "; ") + e;
    }
    if (count > kMost) list += fmt::format("; and {} more", count - kMost);
    return Error(directory_.string(),
                 fmt::format("{} of {} pictures cannot be read: {}", count, files_.size(), list));
  }

  std::string name(std::size_t i) const {
    return files_[i].lexically_relative(directory_).string();
  }

  // "3 of 12 pictures (first "a.png")" for those that `is` says, or nothing.
  template <class Is>
  std::string which(const Is& is) const {
    std::size_t count = 0, first = 0;
    for (std::size_t i = files_.size(); i-- > 0;)
      if (is(i)) ++count, first = i;
    if (count == 0) return "";
    return fmt::format("{} of {} pictures (first {})", count, files_.size(),
                       io::in_quotes(name(first)));
  }

  void add_notes() {
    const auto note = [&](const std::string& pictures, const std::string& what) {
      if (!pictures.empty()) result_.notes.push_back(pictures + " " + what);
    };
    note(which([&](std::size_t i) { return transparent_[i] != 0; }),
         background_.color
             ? fmt::format("have transparent pixels, composed on {},{},{}", (*background_.color)[0],
                           (*background_.color)[1], (*background_.color)[2])
             : "have transparent pixels, whose stored colours are taken (--background white, black "
               "or R,G,B composes them)");
    note(which([&](std::size_t i) { return headers_[i].orientation != 1; }),
         "are turned as their EXIF orientation says");
    if (!size_) return;
    note(which([&](std::size_t i) {
           return headers_[i].height != size_->height || headers_[i].width != size_->width;
         }),
         fmt::format("are cropped and resized to {} x {} (height x width)", size_->height,
                     size_->width));
    note(which([&](std::size_t i) {
           return headers_[i].height < size_->height || headers_[i].width < size_->width;
         }),
         "are smaller than that and were enlarged");
  }

  const fs::path& directory_;
  const std::vector<fs::path>& files_;
  const io::Background& background_;
  const std::optional<io::Extent>& size_;
  std::vector<io::PictureHeader> headers_;
  std::vector<std::string> errors_;  // empty: the file is good
  std::vector<char> transparent_;    // not bool: threads write neighbours
  Pictures result_;
};

}  // namespace

Pictures read_pictures(const fs::path& directory, const std::vector<fs::path>& files,
                       const io::Background& background, const std::optional<io::Extent>& size) {
  return Reader(directory, files, background, size).read();
}

}  // namespace sfumato::data
