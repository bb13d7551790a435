// TensorBoard's event files (`train --tensorboard`): what metrics.jsonl says, for its charts.
#pragma once
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <string>
#include <utility>

namespace sfumato::apps {

// A file events.out.tfevents.* of one process: records framed as TensorFlow's (length, its CRC, data, their CRC), each an
// Event of tensorboard/compat/proto/event.proto. All writing throws Error naming the file.
class EventFile {
 public:
  // In `dir`, going on after `step`: what earlier files say of later steps, TensorBoard then leaves out.
  EventFile(const std::filesystem::path& dir, std::int64_t step);

  void scalars(std::int64_t step,
               std::initializer_list<std::pair<const char*, double>> named_values);

 private:
  void record(const std::string& event);

  std::filesystem::path path_;
  std::ofstream out_;
};

}  // namespace sfumato::apps
