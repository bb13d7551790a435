#include "tensor/io/file_kind.h"

#include <algorithm>
#include <array>

namespace sfumato::io {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kConvert = "convert it to PNG (mogrify -format png FILE)";
constexpr std::string_view kUnpack = "unpack it and give the folder";
constexpr std::string_view kToArrays =
    "open it in Python and numpy.save the pictures as uint8 [N,H,W] or [N,H,W,3] to x.npy, the "
    "labels as int64 [N] to x_labels.npy";
constexpr std::string_view kCsv =
    "in Python: a = numpy.loadtxt(FILE, delimiter=',', skiprows=1, dtype='uint8'); "
    "numpy.save('x.npy', a[:, 1:].reshape(-1, H, W)); numpy.save('x_labels.npy', a[:, 0])";
constexpr std::string_view kPickle =
    "in Python: pickle.load(open(FILE, 'rb'), encoding='bytes'), then numpy.save the pictures as "
    "uint8 [N,H,W] or [N,H,W,3] to x.npy, the labels as int64 [N] to x_labels.npy";

constexpr std::string_view kZip = "PK\3\4";
constexpr FileKind kTar{"a tar archive", "unpack it (tar xf FILE) and give the folder"};

struct Magic {
  std::size_t at;
  std::string_view bytes;
  FileKind kind;
};

constexpr std::array kMagics = {
    Magic{0, "\x89PNG\r\n\x1a\n"sv, {"one PNG picture", "give the folder that holds the pictures"}},
    Magic{0, "\xff\xd8\xff"sv, {"one JPEG picture", "give the folder that holds the pictures"}},
    Magic{0, "GIF8"sv, {"a GIF picture", kConvert}},
    Magic{8, "WEBP"sv, {"a WebP picture", kConvert}},
    Magic{0, "BM"sv, {"a BMP picture", kConvert}},
    Magic{0, "II*\0"sv, {"a TIFF picture", kConvert}},
    Magic{0, "MM\0*"sv, {"a TIFF picture", kConvert}},
    Magic{4, "ftypheic"sv, {"a HEIC picture", kConvert}},
    Magic{4, "ftypmif1"sv, {"a HEIF picture", kConvert}},
    Magic{4, "ftypavif"sv, {"an AVIF picture", kConvert}},
    Magic{0, "\0\0\0\x0cjP  "sv, {"a JPEG 2000 picture", kConvert}},
    Magic{0, "\0\0\0\x0cJXL "sv, {"a JPEG XL picture", kConvert}},
    Magic{0, "\xff\x0a"sv, {"a JPEG XL picture", kConvert}},
    Magic{0, "8BPS"sv, {"a Photoshop picture", kConvert}},
    Magic{0, "qoif"sv, {"a QOI picture", kConvert}},
    Magic{4, "ftyp"sv, {"a film", "extract its frames as PNG files"}},
    Magic{0, "\x93NUMPY"sv, {"a NumPy array", "give it the extension .npy"}},
    Magic{0, kZip, {"a ZIP archive", "unpack it (unzip FILE -d DIR) and give the folder"}},
    Magic{0, "PK\5\6"sv, {"an empty ZIP archive", kUnpack}},
    Magic{257, "ustar"sv, kTar},
    Magic{0, "7z\xbc\xaf\x27\x1c"sv, {"a 7z archive", kUnpack}},
    Magic{0, "Rar!"sv, {"a RAR archive", kUnpack}},
    Magic{0, "\xfd\x37zXZ\0"sv, {"xz data", "unpack it (tar xf or unxz) and give what is inside"}},
    Magic{0, "BZh"sv, {"bzip2 data", "unpack it (tar xf or bunzip2) and give what is inside"}},
    Magic{0, "\x28\xb5\x2f\xfd"sv, {"zstd data", "unpack it (tar xf or unzstd)"}},
    Magic{0, "MATLAB 5.0"sv, {"a MATLAB file", kToArrays}},
    Magic{0, "\x89HDF"sv, {"an HDF5 file", kToArrays}},
    Magic{0, "PAR1"sv, {"a Parquet file", kToArrays}},
    Magic{0, "ARROW1"sv, {"an Arrow file", kToArrays}},
    Magic{0, "\x80\2"sv, {"a Python pickle", kPickle}},
    Magic{0, "\x80\3"sv, {"a Python pickle", kPickle}},
    Magic{0, "\x80\4"sv, {"a Python pickle", kPickle}},
    Magic{0, "\x80\5"sv, {"a Python pickle", kPickle}},
    Magic{0,
          "version https://git-lfs"sv,
          {"a Git LFS pointer, not the file itself", "fetch it with git lfs pull"}},
    Magic{0, "<!DOCTYPE"sv, {"a web page", "download the data themselves"}},
    Magic{0, "<!doctype"sv, {"a web page", "download the data themselves"}},
    Magic{0, "<html"sv, {"a web page", "download the data themselves"}},
    Magic{0, "%PDF"sv, {"a PDF file", "give pictures"}},
    Magic{0, "<svg"sv, {"an SVG drawing", kConvert}},
};

struct Extension {
  std::string_view name;
  FileKind kind;
};

// Formats without a magic number, and those whose container or compression says less.
constexpr std::array kExtensions = {
    Extension{".pt", {"a PyTorch file", kToArrays}},
    Extension{".pth", {"a PyTorch file", kToArrays}},
    Extension{".mat", {"a MATLAB file", kToArrays}},
    Extension{".tgz", kTar},
    Extension{".csv", {"a table of text", kCsv}},
    Extension{".tsv", {"a table of text", kCsv}},
    Extension{".txt", {"a text file", kCsv}},
    Extension{".pkl", {"a Python pickle", kPickle}},
    Extension{".pickle", {"a Python pickle", kPickle}},
    Extension{".tfrecord", {"a TensorFlow record file", kToArrays}},
    Extension{".tfrecords", {"a TensorFlow record file", kToArrays}},
    Extension{".mdb", {"an LMDB data base", kToArrays}},
    Extension{".feather", {"an Arrow file", kToArrays}},
    Extension{".safetensors", {"a safetensors file", kToArrays}},
    Extension{".json", {"a JSON file", "give the pictures, in a folder for each class"}},
    Extension{".jsonl", {"a JSON file", "give the pictures, in a folder for each class"}},
};

template <std::size_t N>
bool contains(const std::array<std::string_view, N>& list, std::string_view extension) {
  return std::find(list.begin(), list.end(), extension) != list.end();
}

}  // namespace

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return lower;
}

std::string lower_extension(const std::filesystem::path& path) {
  return lower_case(path.extension().string());
}

std::optional<FileKind> recognise(std::string_view bytes, const std::filesystem::path& path) {
  if (bytes.empty()) return FileKind{"an empty file", "download or save it again"};
  const std::string extension = lower_extension(path);
  const auto by_name = std::find_if(kExtensions.begin(), kExtensions.end(),
                                    [&](const Extension& e) { return e.name == extension; });
  const auto by_content = std::find_if(kMagics.begin(), kMagics.end(), [&](const Magic& m) {
    return bytes.size() >= m.at && bytes.substr(m.at).starts_with(m.bytes);
  });
  // .pt is a ZIP archive: the name says more. But a web page saved as data.csv is a web page.
  const bool container = by_content != kMagics.end() && by_content->bytes == kZip;
  if (by_content != kMagics.end() && !(container && by_name != kExtensions.end()))
    return by_content->kind;
  if (lower_case(path.filename().string()).ends_with(".tar.gz")) return kTar;
  if (by_name != kExtensions.end()) return by_name->kind;
  return std::nullopt;
}

bool is_picture_extension(std::string_view extension) {
  constexpr std::array kRead = {".png"sv, ".jpg"sv,  ".jpeg"sv,  ".jpe"sv, ".jfif"sv,
                                ".jif"sv, ".apng"sv, ".pjpeg"sv, ".pjp"sv};
  return contains(kRead, extension);
}

bool is_foreign_picture_extension(std::string_view extension) {
  constexpr std::array kNotRead = {".bmp"sv,  ".dib"sv,  ".webp"sv, ".tif"sv, ".tiff"sv, ".gif"sv,
                                   ".heic"sv, ".heif"sv, ".avif"sv, ".jp2"sv, ".jxl"sv,  ".ppm"sv,
                                   ".pgm"sv,  ".pbm"sv,  ".pnm"sv,  ".tga"sv, ".ico"sv,  ".svg"sv,
                                   ".psd"sv,  ".qoi"sv,  ".exr"sv,  ".hdr"sv, ".dcm"sv,  ".raw"sv,
                                   ".cr2"sv,  ".nef"sv,  ".dng"sv,  ".arw"sv, ".pcx"sv};
  return contains(kNotRead, extension);
}

}  // namespace sfumato::io
