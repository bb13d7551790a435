// Whether the data of a run are still those that it began with.
#pragma once
#include <cstdint>
#include <string>

#include "diffusion/data/dataset.h"
#include "tensor/io/json.h"
#include "tensor/shape.h"

namespace sfumato::apps {

struct DataIdentity {
  Shape images;  // [N,H,W,C]
  std::int64_t classes = 0;
  std::uint64_t pixels = 0, labels = 0;  // checksums; labels 0 without
  bool operator==(const DataIdentity&) const = default;
};

DataIdentity identify(const data::ImageDataset& data);
// One number for all of it: a name for files that belong to the data.
std::uint64_t fingerprint(const DataIdentity& identity);

io::Json to_json(const DataIdentity& identity);
// Throws Error for what is no identity.
DataIdentity parse_data_identity(const io::JsonObject& json);

// What differs, in words: "20 pictures then, 8 now". Empty when nothing does.
std::string difference(const DataIdentity& then, const DataIdentity& now);

}  // namespace sfumato::apps
