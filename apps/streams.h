// What a program needs before anything else: its standard streams, which whoever starts it may have
// closed, filled or left, and a last word when memory runs out.
#pragma once
#include <string>

namespace sfumato::apps {

// To be called first in main. Takes the descriptors 0 to 2 where they are closed, so that no file
// gets one of them and with it what is printed; reading and printing there fail all the same. Lets
// writing to a pipe that nobody reads, or beyond a limit on file sizes, be an error, where the
// default is the end of the process.
void prepare_streams();

// To be called once, before main. Memory may run out in a destructor too (JSON's allocate), from where
// no exception can leave: the program then says so and exits with 1, instead of an abort. What is
// on disk is whole, as after a kill.
void exit_when_out_of_memory();

// Prints on the standard error. Whether anybody can read it changes nothing.
void complain(const std::string& text) noexcept;

// Throws Error when what was printed on the standard output cannot be written.
void flush_output();

}  // namespace sfumato::apps
