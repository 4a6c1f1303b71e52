// Generic part of the native driver and its C interface; see native.py for the contracts.
#include "native.h"

#include <cstring>

namespace d1 {

static uint32_t bytes(uint32_t width) {
  if (width > 64) return (width + 31) / 32 * 4;
  return width <= 8 ? 1 : width <= 16 ? 2 : width <= 32 ? 4 : 8;
}

void Port::set(const uint32_t* words) { std::memcpy(storage, words, bytes(width)); }

void Port::get(uint32_t* words) const {
  words[0] = 0;
  std::memcpy(words, storage, bytes(width));
}

bool Model::start_trace(const char* path, uint64_t start, uint64_t stop) {
  stop_trace();
  if (!open_trace(path)) return false;
  tracing_ = true;
  trace_start_ = start;
  trace_stop_ = stop;
  return true;
}

void Model::stop_trace() {
  if (tracing_) close_trace();
  tracing_ = false;
}

void Model::finish_trace() {
  if (cycle_ >= trace_start_) dump_trace(2 * cycle_ + 1);
  if (cycle_ + 1 >= trace_stop_) stop_trace();
}

}  // namespace d1

using d1::Model;

extern "C" {

void d1_delete(Model* model) { delete model; }

void d1_set(Model* model, uint32_t port, const uint32_t* words) { model->ports[port].set(words); }

void d1_get(Model* model, uint32_t port, uint32_t* words) { model->ports[port].get(words); }

void d1_refresh(Model* model) { model->refresh(); }

void d1_step(Model* model, uint64_t cycles) {
  for (uint64_t i = 0; i < cycles; ++i) {
    model->settle();
    model->finish();
  }
}

// Clock until a one-bit port is `value` at a rising edge, at most `limit` cycles; that last cycle
// is not run. Returns whether it came to that.
int d1_run_until(Model* model, uint32_t port, int value, uint64_t limit) {
  for (uint64_t i = 0;; ++i) {
    model->settle();
    if (model->ports[port].bit() == (value != 0)) return 1;
    if (i == limit) return 0;
    model->finish();
  }
}

// Row k of every input is set, the outputs are recorded in row k, then the clock rises.
void d1_play(Model* model, uint64_t cycles, uint32_t inputs, const uint32_t* input_ports,
             const uint32_t* const* input_rows, uint32_t outputs, const uint32_t* output_ports,
             uint32_t* const* output_rows) {
  for (uint64_t k = 0; k < cycles; ++k) {
    for (uint32_t i = 0; i < inputs; ++i) {
      d1::Port& port = model->ports[input_ports[i]];
      port.set(input_rows[i] + k * port.words());
    }
    model->settle();
    for (uint32_t i = 0; i < outputs; ++i) {
      const d1::Port& port = model->ports[output_ports[i]];
      port.get(output_rows[i] + k * port.words());
    }
    model->finish();
  }
}

uint64_t d1_cycle(const Model* model) { return model->cycle(); }

int d1_start_trace(Model* model, const char* path, uint64_t start, uint64_t stop) {
  return model->start_trace(path, start, stop);
}

void d1_stop_trace(Model* model) { model->stop_trace(); }

}  // extern "C"
