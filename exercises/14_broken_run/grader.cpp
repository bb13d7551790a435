#include "common/grader.h"

#include <fmt/format.h>

#include "14_broken_run/exercise.h"

namespace exercises {

const Exercise kExercise = {14, "14_broken_run", "read a broken run"};

namespace {

struct Row {
  Cause cause;
  const char* id;
  const char* would_show;  // in the file
};

constexpr Row kCauses[] = {{Cause::two_noises, "two_noises",
                            "With two noises the compared one is nowhere in x_t: no network can do "
                            "better than the answer 0, from the first "
                            "line on.\nWhich loss is that?"},
                           {Cause::noise_in_last_step, "noise_in_last_step",
                            "Noise in the last step is a mistake of sampling alone: the loss would "
                            "be that of run a, to the last digit."},
                           {Cause::learning_rate_too_high, "learning_rate_too_high",
                            "With too high a learning rate the first steps overshoot: look at the "
                            "first line of the losses, and at what the "
                            "file's head says."},
                           {Cause::schedule_too_short, "schedule_too_short",
                            "A schedule that is too short shows in the head of the file: x_T is "
                            "noise only if alpha_bar at the end is near 0."},
                           {Cause::gradients_not_zeroed, "gradients_not_zeroed",
                            "If gradients are not zeroed they add up: look at how the gradient's "
                            "norm goes, beside that of run a."},
                           {Cause::time_not_told, "time_not_told",
                            "A network that is not told the time learns, but less than run a: the "
                            "loss falls, to a higher value, and the heaps are "
                            "wide."}};

struct Run {
  char name;
  Cause (*yours)();
  Cause right;
};

constexpr Run kRuns[] = {{'b', run_b, Cause::two_noises},
                         {'c', run_c, Cause::noise_in_last_step},
                         {'d', run_d, Cause::learning_rate_too_high},
                         {'e', run_e, Cause::schedule_too_short},
                         {'f', run_f, Cause::gradients_not_zeroed},
                         {'g', run_g, Cause::time_not_told}};

std::optional<Fault> judge(const Run& run, Cause answer) {
  if (answer == run.right) return {};
  for (const Row& row : kCauses)
    if (row.cause == answer)
      return Fault{row.id, fmt::format("That is not it. {}", row.would_show)};
  return Fault{"", "That is none of the causes in exercise.h."};
}

}  // namespace

void grade(Grader& grader) {
  for (const Run& run : kRuns) {
    std::vector<Grader::Sample> wrong;
    for (const Row& row : kCauses)
      if (row.cause != run.right) wrong.push_back({row.id, [&] { return judge(run, row.cause); }});
    grader.check(
        fmt::format("run_{}", run.name), [&] { return judge(run, run.yours()); }, wrong);
  }
}

void show() {
  fmt::print(
      "You read them all. The mistakes are planted in exercises/14_broken_run/make_runs.cpp, a "
      "line each: look how "
      "little\nis changed. When a run of your own looks odd, begin with a loss that you can "
      "compute: 1 for the "
      "answer 0.\n");
}

}  // namespace exercises
