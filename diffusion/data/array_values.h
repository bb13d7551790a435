// What an array of pictures or of labels means: NumPy's users write them in many ways.
#pragma once
#include <string>
#include <vector>

#include "tensor/io/npy.h"
#include "tensor/tensor.h"

namespace sfumato::data {

// u8 [N,H,W,C], C = 1 or 3, from [N,H,W], [N,H,W,C] or [N,C,H,W] of
//  - uint8, or any whole numbers in 0..255;
//  - bool: 0 and 255;
//  - floats: all in [0, 1], scaled by 255; from exactly -1 to exactly 1, scaled likewise; or whole
//    numbers in 0..255.
// Whatever is converted gets a line in `notes`. Throws Error naming `where`, with what to type in
// Python, for everything whose meaning is not certain.
Tensor images_from_array(const std::string& where, const io::NpyArray& array,
                         std::vector<std::string>& notes);

// i64 [n] from whole numbers or truth values, also as floats, [n], [n,1] or [1,n]; or from [n,K] of
// which each row has a single 1 among zeros. Notes and errors as above.
Tensor labels_from_array(const std::string& where, const io::NpyArray& array, std::int64_t n,
                         std::vector<std::string>& notes);

}  // namespace sfumato::data
