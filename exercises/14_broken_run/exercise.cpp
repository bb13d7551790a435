// Exercise 14: read a broken run. Read README.md beside this file first. An answer looks like
//   return Cause::two_noises;
#include "exercise.h"

Cause run_b() { return your_code("what is wrong with runs/b.txt"); }

Cause run_c() { return your_code("what is wrong with runs/c.txt"); }

Cause run_d() { return your_code("what is wrong with runs/d.txt"); }

Cause run_e() { return your_code("what is wrong with runs/e.txt"); }

Cause run_f() { return your_code("what is wrong with runs/f.txt"); }

Cause run_g() { return your_code("what is wrong with runs/g.txt"); }
