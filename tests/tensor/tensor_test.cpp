#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <cmath>
#include <thread>
#include <vector>

#include "tensor/argmax.h"
#include "tensor/arithmetic.h"
#include "tensor/memory.h"
#include "tensor/parallel.h"
#include "tensor/sanitizers.h"

namespace sfumato {
namespace {

TEST(Shape, KnowsItsSizeAndAxes) {
  const Shape s{2, 3, 4};
  EXPECT_EQ(s.size(), 24);
  EXPECT_EQ(s[-1], 4);
  EXPECT_EQ(s.str(), "[2, 3, 4]");
  EXPECT_EQ(Shape{}.size(), 1);
  EXPECT_EQ((Shape{0, 5}).size(), 0);
}

TEST(Shape, RefusesWhatCannotBe) {
  EXPECT_THROW((Shape{-1}), Error);
  EXPECT_THROW((Shape{std::int64_t{1} << 40, std::int64_t{1} << 40}), Error);
  EXPECT_THROW((Shape{1, 1, 1, 1, 1, 1, 1}), Error);
  EXPECT_THROW((Shape{2, 3})[2], Error);
}

TEST(Shape, Broadcasts) {
  EXPECT_EQ(broadcast("t", {2, 1, 4}, {3, 1}), (Shape{2, 3, 4}));
  EXPECT_EQ(broadcast("t", {}, {3}), (Shape{3}));
  EXPECT_EQ(broadcast("t", {0, 3}, {1, 3}), (Shape{0, 3}));
  EXPECT_THROW(broadcast("t", {2}, {3}), Error);
}

TEST(Tensor, SliceAndReshapeAreViews) {
  Tensor x = Tensor::from<float>({2, 3}, {0, 1, 2, 3, 4, 5});
  Tensor row = x.slice(1, 2).reshape({-1});
  EXPECT_EQ(row.shape(), (Shape{3}));
  row.data<float>()[0] = 9;
  EXPECT_EQ(x.data<float>()[3], 9);
  EXPECT_FALSE(x.unique());
  EXPECT_TRUE(x.clone().unique());
}

TEST(Tensor, RefusesMisuse) {
  Tensor x({2, 3});
  EXPECT_THROW(x.data<double>(), Error);
  EXPECT_THROW(x.slice(1, 3), Error);
  EXPECT_THROW(x.reshape({4}), Error);
  EXPECT_THROW(x.item(), Error);
  EXPECT_THROW(Tensor().data<float>(), Error);
  EXPECT_THROW(Tensor::from<float>({2}, {1.f}), Error);
}

TEST(Tensor, EmptyOnesWork) {
  const Tensor x = Tensor::zeros({0, 3});
  EXPECT_EQ(x.clone().size(), 0);
  EXPECT_EQ(add(x, x).size(), 0);
  EXPECT_EQ(permute(x, {1, 0}).shape(), (Shape{3, 0}));
  // Strides of this one would overflow (seen by the undefined behaviour sanitizer).
  constexpr std::int64_t kHuge = std::int64_t{1} << 62;
  EXPECT_EQ(permute(Tensor(Shape{0, 1, kHuge, kHuge}), {0, 2, 3, 1}).shape(),
            (Shape{0, kHuge, kHuge, 1}));
}

TEST(Tensor, PermuteMovesAxes) {
  const Tensor x = Tensor::from<std::int64_t>({2, 3}, {0, 1, 2, 3, 4, 5});
  const Tensor y = permute(x, {1, 0});
  EXPECT_EQ(y.data<std::int64_t>()[1], 3);
  EXPECT_THROW(permute(x, {0, 0}), Error);
  EXPECT_THROW(permute(x, {0}), Error);
}

TEST(Arithmetic, ReduceUndoesBroadcast) {
  const Tensor g = Tensor::full({2, 3, 4, 5}, 1);
  for (const Shape& s : {Shape{2, 1, 1, 5}, Shape{5}, Shape{3, 1, 1}, Shape{}, Shape{2, 3, 4, 5},
                         Shape{1, 3, 1, 5}}) {
    const Tensor r = reduce_to(g, s);
    EXPECT_EQ(r.shape(), s);
    for (float v : r.values<float>()) EXPECT_EQ(v, 120.0f / static_cast<float>(s.size()));
  }
}

TEST(Tensor, IntegersRefuseWhatTheyCannotHold) {
  EXPECT_EQ(Tensor::full({}, 255, DType::u8).item(), 255);
  EXPECT_EQ(Tensor::full({}, -9, DType::i64).item(), -9);
  for (const double value : {-1.0, 256.0, std::nan("")})
    EXPECT_THROW(Tensor::full({}, value, DType::u8), Error) << value;
  for (const double value : {9.3e18, -9.3e18})
    EXPECT_THROW(Tensor::full({}, value, DType::i64), Error) << value;
  EXPECT_EQ(Tensor::full({3}, 2.5).to(DType::i64).slice(2, 3).item(), 2);
  EXPECT_THROW(Tensor::full({3}, std::nan("")).to(DType::i64), Error);
  EXPECT_THROW(Tensor::full({3}, 256).to(DType::u8), Error);
}

TEST(Argmax, TheFirstOfEqualOnes) {
  const Tensor x = Tensor::from<float>({3, 3}, {1, 3, 3, -2, -3, -4, 0, 0, 5});
  EXPECT_EQ(argmax_of_rows(x), (std::vector<std::int64_t>{1, 0, 2}));
}

TEST(Memory, BlocksComeBack) {
  { Tensor warm({1000}); }
  const auto before = memory::stats();
  for (int i = 0; i < 100; ++i) Tensor t({1000});
  if (memory::kKeepsBlocks) {
    EXPECT_EQ(memory::stats().system_allocations, before.system_allocations);
  }
  EXPECT_EQ(memory::stats().bytes_in_use, before.bytes_in_use);
}

TEST(Parallel, EveryTaskRunsOnceOnAnyNumberOfThreads) {
  const int threads = thread_count();
  for (int n : {1, 2, 3, 16}) {
    set_thread_count(n);
    for (std::int64_t tasks : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> seen(static_cast<std::size_t>(tasks));
      parallel_for(tasks, [&](std::int64_t i) { ++seen[static_cast<std::size_t>(i)]; });
      for (auto& s : seen) EXPECT_EQ(s.load(), 1);
    }
  }
  set_thread_count(threads);
}

TEST(Parallel, AnExceptionReachesTheCallerAndThePoolLivesOn) {
  const int threads = thread_count();
  set_thread_count(3);
  for (int round = 0; round < 3; ++round) {
    EXPECT_THROW(parallel_for(100,
                              [](std::int64_t i) {
                                if (i == 42) throw Error("task", "42");
                              }),
                 Error);
    std::atomic<int> done{0};
    parallel_for(100,
                 [&](std::int64_t) { parallel_for(2, [&](std::int64_t) { ++done; }); });  // nested
    EXPECT_EQ(done.load(), 200);
  }
  set_thread_count(threads);
}

TEST(Parallel, CallersOnSeveralThreadsTakeTurns) {
  std::atomic<int> done{0};
  {
    std::vector<std::jthread> callers;
    for (int k = 0; k < 4; ++k)
      callers.emplace_back([&] {
        for (int i = 0; i < 50; ++i) parallel_for(8, [&](std::int64_t) { ++done; });
      });
  }
  EXPECT_EQ(done.load(), 4 * 50 * 8);
}

TEST(Parallel, RefusesAbsurdThreadCounts) {
  EXPECT_THROW(set_thread_count(0), Error);
  EXPECT_THROW(set_thread_count(1 << 20), Error);
}

TEST(Memory, ScratchComesBackToTheThreadThatUsedItLast) {
  if (!memory::kKeepsBlocks) GTEST_SKIP() << "under the address sanitizer nothing is kept";
  constexpr std::size_t kBytes = 12345;
  void *mine[2], *others[2];
  std::barrier step(2);
  std::jthread other([&] {
    others[0] = memory::allocate_in_task(kBytes);
    step.arrive_and_wait();
    step.arrive_and_wait();
    memory::release_in_task(others[0], kBytes);  // the last to come back
    step.arrive_and_wait();
    step.arrive_and_wait();
    others[1] = memory::allocate_in_task(kBytes);
    memory::release_in_task(others[1], kBytes);
  });
  mine[0] = memory::allocate_in_task(kBytes);
  step.arrive_and_wait();
  memory::release_in_task(mine[0], kBytes);
  step.arrive_and_wait();
  step.arrive_and_wait();
  mine[1] = memory::allocate_in_task(kBytes);
  step.arrive_and_wait();
  other.join();
  memory::release_in_task(mine[1], kBytes);
  EXPECT_EQ(mine[1], mine[0]);
  EXPECT_EQ(others[1], others[0]);
}

TEST(Memory, ScratchOfAThreadThatEndedIsUsedAgain) {
  if (!memory::kKeepsBlocks) GTEST_SKIP() << "under the address sanitizer nothing is kept";
  const auto use = [] {
    std::jthread([] { memory::release_in_task(memory::allocate_in_task(54321), 54321); }).join();
  };
  use();
  const auto fetched = memory::stats().system_allocations;
  for (int i = 0; i < 100; ++i) use();
  EXPECT_EQ(memory::stats().system_allocations, fetched);
}

}  // namespace
}  // namespace sfumato
