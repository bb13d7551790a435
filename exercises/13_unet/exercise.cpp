// Exercise 13: a U-Net from its pieces. Read README.md beside this file first.
#include "exercise.h"

using namespace sfumato;

Var UNet::operator()(const Var& x) const {
  // Down. In brackets: what each has.
  Var a = your_code("[28, 28, D]: x through `in`");
  Var b = your_code("[14, 14, D]: a through `down1`");
  Var c = your_code("[7, 7, 2D]: b through `down2`");
  Var code = your_code("[1, 1, 2D]: c, flattened");
  // Up, with what the way down has kept.
  Var d = your_code("[7, 7, 2D]: the code, through `unflatten`");
  Var e = your_code("[14, 14, D]: d and c side by side, through `up1`");
  Var f = your_code("[28, 28, D]: e and b side by side, through `up2`");
  Var g = your_code("[28, 28, D]: f and a side by side, through `end`");
  return your_code("[28, 28, 1]: g through `out`");
}
