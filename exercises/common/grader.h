// What the graders of the exercises are made of. A grader (NN_name/grader.cpp) defines `kExercise`, `grade` and `show`;
// main() is here. A check compares the numbers that a student's function gives with the right ones and, where they
// differ, with those that the usual mistakes would give: so it can name the mistake.
#pragma once
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace exercises {

using Numbers = std::vector<double>;

// f(case) for each of the cases.
template <class Cases, class F>
Numbers each(const Cases& cases, F f) {
  Numbers numbers;
  for (const auto& c : cases) numbers.push_back(f(c));
  return numbers;
}

struct Mistake {
  std::string id;    // for --json
  std::string says;  // to the student: what was done, what is asked for, why
  Numbers values;    // what this mistake gives, a number for each of Check::right
};

struct Check {
  std::string function;            // the student's
  std::string quantity;            // what its numbers are: "σ_t"
  std::function<Numbers()> yours;  // calls the student's function
  Numbers right;
  std::function<std::string(std::size_t)> at;  // which case number i is: "t = 3"
  std::vector<Mistake> mistakes = {};          // the first that fits is named
  double tolerance = 1e-6;  // times |right|, and at least a thousandth of the largest |right|
};

// What is wrong; empty `mistake` where no known one fits.
struct Fault {
  std::string mistake, says;
};

// What is wrong with `numbers` as an answer to `check`; none if they are right.
std::optional<Fault> find_fault(const Check& check, const Numbers& numbers);

struct Exercise {
  int number;
  const char* folder;  // "01_schedule"
  const char* title;
};

// Collects the results. For one thread.
class Grader {
 public:
  enum class Mode {
    grade,    // calls the student's functions
    mistakes  // tries on each check the values of its own mistakes: each must be named
  };
  Grader(const Exercise& exercise, Mode mode) : exercise_(exercise), mode_(mode) {}

  void check(const Check& check);
  // For what is no comparison of numbers: `find` returns what is wrong. Not run in Mode::mistakes, where `samples`
  // holds known wrong answers: each returns what `find` says of it, which must be the mistake of that name.
  struct Sample {
    std::string mistake;
    std::function<std::optional<Fault>()> find;
  };
  void check(const std::string& function, const std::function<std::optional<Fault>()>& find,
             const std::vector<Sample>& samples = {});

  bool passed() const;
  void print() const;       // for the student
  void print_json() const;  // one line

 private:
  struct Result {
    std::string function;
    std::optional<Fault> fault;
    bool unwritten = false;
    int line = 0;  // of the hole, in the student's file
  };
  void run(const std::string& function, const std::function<std::optional<Fault>()>& find);

  Exercise exercise_;
  Mode mode_;
  std::vector<Result> results_;
};

// What each exercise defines.
extern const Exercise kExercise;
void grade(Grader& grader);
// What the student sees once all is right: what their functions do.
void show();

}  // namespace exercises
