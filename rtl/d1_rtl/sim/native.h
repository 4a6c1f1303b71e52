// The native driver: what it asks of a model, and the clock loop that every driver shares.
#pragma once
#include <cstdint>
#include <vector>

namespace d1 {

// A port of the model. Verilator keeps 1 to 64 bits in the smallest of 1, 2, 4 or 8 bytes and more
// in an array of 32-bit words, all little-endian and with the bits above the width zero.
struct Port {
  void* storage;
  uint32_t width;

  uint32_t words() const { return (width + 31) / 32; }
  void set(const uint32_t* words);
  void get(uint32_t* words) const;
  bool bit() const { return *static_cast<const uint8_t*>(storage) & 1; }
  void set_bit(bool value) { *static_cast<uint8_t*>(storage) = value; }
};

// Implemented for each design by bind.cpp.
class Model {
 public:
  virtual ~Model() = default;
  virtual void eval() = 0;
  virtual bool open_trace(const char* path) = 0;
  virtual void dump_trace(uint64_t time) = 0;
  virtual void close_trace() = 0;
  // The whole state; false when the model was not built for it, or the state is of another one.
  virtual bool save(std::vector<uint8_t>& state) = 0;
  virtual bool restore(const std::vector<uint8_t>& state) = 0;

  // One clock cycle in two halves. After settle() the outputs belong to the inputs of this cycle
  // and are what the rising edge in finish() will sample.
  void settle() {
    clk() = 0;
    eval();
    if (tracing_ && cycle_ >= trace_start_) dump_trace(2 * cycle_);
  }
  void finish() {
    clk() = 1;
    eval();
    if (tracing_) finish_trace();
    ++cycle_;
  }
  // Make the outputs follow inputs that were set since the last edge, without an edge.
  void refresh() { eval(); }

  bool start_trace(const char* path, uint64_t start, uint64_t stop);
  void stop_trace();

  std::vector<Port> ports;  // clk is the first
  uint64_t cycle() const { return cycle_; }

  // Let cycles pass in which the clock stands still; not while a waveform is written.
  bool can_skip() const { return !tracing_; }
  void skip(uint64_t cycles) { cycle_ += cycles; }

 private:
  uint8_t& clk() { return *static_cast<uint8_t*>(ports[0].storage); }
  void finish_trace();

  uint64_t cycle_ = 0;
  bool tracing_ = false;
  uint64_t trace_start_ = 0;
  uint64_t trace_stop_ = 0;
};

}  // namespace d1
