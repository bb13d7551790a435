#include "common/grader.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <nlohmann/json.hpp>

#include "common/your_code.h"

namespace exercises {
namespace {

bool equal(double a, double b, double allowed) {
  return std::abs(a - b) <= allowed || a == b || (std::isnan(a) && std::isnan(b));
}

// The first number of `numbers` that is not as `expected` has it; its size if there is none.
std::size_t first_difference(const Check& check, const Numbers& numbers, const Numbers& expected) {
  double largest = 0;
  for (const double x : check.right) largest = std::max(largest, std::abs(x));
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double scale = std::max({std::abs(expected[i]), 1e-3 * largest, 1e-12});
    if (!equal(numbers[i], expected[i], check.tolerance * scale)) return i;
  }
  return expected.size();
}

bool same(const Check& check, const Numbers& numbers, const Numbers& expected) {
  return expected.size() == numbers.size() &&
         first_difference(check, numbers, expected) == expected.size();
}

// What is odd about the numbers as a whole, where no known mistake fits.
std::string resemblance(const Check& check, const Numbers& numbers) {
  const auto changed = [&](auto f) {
    Numbers values;
    for (std::size_t i = 0; i < check.right.size(); ++i) values.push_back(f(i));
    return values;
  };
  const Numbers& right = check.right;
  const auto is = [&](auto f) { return same(check, numbers, changed(f)); };
  if (is([&](std::size_t) { return 0.0; })) return "All of yours are 0.";
  if (is([&](std::size_t) { return numbers[0]; }) && numbers.size() > 1)
    return "All of yours are the same number.";
  if (is([&](std::size_t i) { return -right[i]; }))
    return "They are the right ones with the opposite sign.";
  if (is([&](std::size_t i) { return right[i] * right[i]; }))
    return "They are the squares of the right ones: a root is missing.";
  if (is([&](std::size_t i) { return std::sqrt(right[i]); }))
    return "They are the square roots of the right ones: a root too many.";
  if (is([&](std::size_t i) { return 1 / right[i]; }))
    return "They are one over the right ones: multiply and divide are exchanged.";
  if (is([&](std::size_t i) { return right[right.size() - 1 - i]; }) && right.size() > 1)
    return "They are the right ones in the opposite order.";
  if (right[0] != 0 && numbers[0] != 0) {
    const double factor = numbers[0] / right[0];
    if (is([&](std::size_t i) { return factor * right[i]; }) && right.size() > 1)
      return fmt::format("Each is {:.4g} times the right one.", factor);
  }
  return "";
}

std::string where(const Check& check, const Numbers& numbers, std::size_t i) {
  return fmt::format("It differs first at {}: yours is {:.6g}, asked for is {:.6g}.", check.at(i),
                     numbers[i], check.right[i]);
}

// Which function of the student's runs: for the message if the program dies in it.
char running[256] = "";

void died(int signal) {
  const char* says =
      signal == SIGABRT
          ? " stopped the program. If a line above speaks of operator[] or of an index: "
            "v[i] was used with an i outside 0 .. v.size()-1 (-1 is not the last element in C++).\n"
      : signal == SIGFPE ? " divided an integer by zero.\n"
                         : " used memory that is not its own: most often v[i] with an i outside 0 "
                           ".. v.size()-1.\n";
  for (const char* part : {"\n  ✗ ", static_cast<const char*>(running), says})
    if (write(STDERR_FILENO, part, std::strlen(part)) < 0) break;
  _exit(1);
}

}  // namespace

std::optional<Fault> find_fault(const Check& check, const Numbers& numbers) {
  if (numbers.size() != check.right.size())
    return Fault{"length", fmt::format("It gives {} numbers; {} are asked for.", numbers.size(),
                                       check.right.size())};
  const std::size_t i = first_difference(check, numbers, check.right);
  if (i == numbers.size()) return {};
  const std::string at = where(check, numbers, i);
  for (const Mistake& m : check.mistakes)
    if (same(check, numbers, m.values)) return Fault{m.id, m.says + "\n" + at};
  const auto nan =
      std::find_if(numbers.begin(), numbers.end(), [](double x) { return std::isnan(x); });
  if (nan != numbers.end() && !std::isnan(check.right[nan - numbers.begin()]))
    return Fault{
        "nan",
        fmt::format("Your {} is no number (NaN) at {}: the square root of something below zero, or "
                    "0 divided by 0.",
                    check.quantity, check.at(nan - numbers.begin()))};
  const std::string hint = resemblance(check, numbers);
  return Fault{"", fmt::format("Your {} is not the one asked for.{}{}\n{}", check.quantity,
                               hint.empty() ? "" : " ", hint, at)};
}

void Grader::run(const std::string& function, const std::function<std::optional<Fault>()>& find) {
  fmt::format_to_n(running, sizeof running - 1, "{}\0", function);
  Result result{function, {}, false, 0};
  try {
    result.fault = find();
  } catch (const Unwritten& hole) {
    result = {function, Fault{"unwritten", hole.what}, true, hole.line};
  } catch (const std::exception& e) {
    result.fault = Fault{"exception", fmt::format("It stopped with: {}", e.what())};
  }
  results_.push_back(result);
}

void Grader::check(const Check& check) {
  if (mode_ == Mode::grade) {
    run(check.function, [&] { return find_fault(check, check.yours()); });
    return;
  }
  for (const Mistake& m : check.mistakes)
    run(check.function + ": " + m.id, [&]() -> std::optional<Fault> {
      const auto fault = find_fault(check, m.values);
      if (!fault) return Fault{"", "this mistake gives the right numbers"};
      if (fault->mistake != m.id) return Fault{"", "it is taken for: " + fault->says};
      return {};
    });
}

void Grader::check(const std::string& function, const std::function<std::optional<Fault>()>& find,
                   const std::vector<Sample>& samples) {
  if (mode_ == Mode::grade) {
    run(function, find);
    return;
  }
  for (const Sample& sample : samples)
    run(function + ": " + sample.mistake, [&]() -> std::optional<Fault> {
      const auto fault = sample.find();
      if (!fault) return Fault{"", "this mistake is not seen"};
      if (fault->mistake != sample.mistake) return Fault{"", "it is taken for: " + fault->says};
      return {};
    });
}

bool Grader::passed() const {
  return std::none_of(results_.begin(), results_.end(), [](const Result& r) { return r.fault; });
}

void Grader::print() const {
  fmt::print("Exercise {}: {}\n\n", exercise_.number, exercise_.title);
  std::size_t right = 0;
  for (const Result& r : results_) {
    right += !r.fault;
    if (!r.fault) {
      fmt::print("  ✓ {}\n", r.function);
    } else if (r.unwritten) {
      fmt::print("  · {}: not written yet (line {})\n      wanted: {}\n", r.function, r.line,
                 r.fault->says);
    } else {
      std::string says = r.fault->says;
      for (std::size_t i = 0; (i = says.find('\n', i)) != std::string::npos; i += 7)
        says.replace(i, 1, "\n      ");
      fmt::print("  ✗ {}\n      {}\n", r.function, says);
    }
  }
  fmt::print("\n{} of {} right.", right, results_.size());
  if (right < results_.size() && mode_ == Mode::grade)
    fmt::print(" The text: exercises/{0}/README.md; you write in: exercises/{0}/exercise.cpp",
               exercise_.folder);
  fmt::print("\n");
}

void Grader::print_json() const {
  nlohmann::ordered_json checks = nlohmann::ordered_json::array();
  std::size_t right = 0;
  for (const Result& r : results_) {
    nlohmann::ordered_json check = {{"function", r.function}, {"passed", !r.fault}};
    if (r.fault) {
      check["mistake"] = r.fault->mistake.empty() ? "unknown" : r.fault->mistake;
      check["message"] = r.fault->says;
    }
    right += !r.fault;
    checks.push_back(check);
  }
  const nlohmann::ordered_json line = {{"exercise", exercise_.number}, {"name", exercise_.folder},
                                       {"passed", passed()},           {"right", right},
                                       {"of", results_.size()},        {"checks", checks}};
  fmt::print("{}\n", line.dump());
}

}  // namespace exercises

// With --json one line for graders of courses; with --mistakes the grader grades itself.
int main(int argc, char** argv) {
  using namespace exercises;
  const auto given = [&](const char* option) {
    return std::any_of(argv + 1, argv + argc,
                       [&](const char* a) { return std::strcmp(a, option) == 0; });
  };
  for (const int signal : {SIGABRT, SIGSEGV, SIGFPE, SIGBUS}) std::signal(signal, died);
  try {
    Grader grader(kExercise, given("--mistakes") ? Grader::Mode::mistakes : Grader::Mode::grade);
    grade(grader);
    if (given("--json")) {
      grader.print_json();
    } else {
      grader.print();
      std::fflush(stdout);
      if (grader.passed() && !given("--mistakes")) show();
    }
    return grader.passed() ? 0 : 1;
  } catch (const std::exception& e) {
    fmt::print(stderr, "the grader of exercise {}: {}\n", kExercise.number, e.what());
    return 2;
  }
}
