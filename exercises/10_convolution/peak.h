#pragma once

namespace exercises {

// Does 160 floating-point operations a round; returns a number so that they are not left out.
float multiply_adds(int rounds);

}  // namespace exercises
