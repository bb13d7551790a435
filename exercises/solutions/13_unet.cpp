#include "13_unet/exercise.h"

using namespace sfumato;

Var UNet::operator()(const Var& x) const {
  Var a = in(x);
  Var b = down1(a);
  Var c = down2(b);
  Var code = flatten(c);
  Var d = unflatten(code);
  Var e = up1(concat(d, c));
  Var f = up2(concat(e, b));
  Var g = end(concat(f, a));
  return out(g);
}
