// Binds one Verilated design to the native driver. ports.h is written for it and lists the members
// of Vtop that are ports: D1_PORTS(X) with X(member, width).
#include "Vtop.h"
#include "native.h"
#include "ports.h"
#include "verilated.h"
#include <cstdlib>
#include <new>
#if __has_include(<sys/mman.h>)
#include <sys/mman.h>
#endif
#if VM_COVERAGE
#include "verilated_cov.h"
#endif
#if D1_SAVABLE
#include "verilated_save.h"
#endif
#if VM_TRACE_FST
#include "verilated_fst_c.h"
using Trace = VerilatedFstC;
#elif VM_TRACE_VCD
#include "verilated_vcd_c.h"
using Trace = VerilatedVcdC;
#endif

// The state of a model is one object, aligned to cache lines. With that of hundreds of nodes in
// ordinary pages the processor spends a sixth of its time looking for them; here it gets huge ones
// where the system has them.
void* operator new(size_t size, std::align_val_t alignment) {
  size_t align = static_cast<size_t>(alignment);
#ifdef MADV_HUGEPAGE
  constexpr size_t kHugePage = size_t{2} << 20;
  const bool huge = size >= kHugePage / 2;
  if (huge) align = kHugePage;
#endif
  size = (size + align - 1) / align * align;
  void* memory = std::aligned_alloc(align, size);
  if (!memory) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  if (huge) madvise(memory, size, MADV_HUGEPAGE);
#endif
  return memory;
}
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace {

#if D1_SAVABLE
class Writer final : public VerilatedSerialize {
 public:
  explicit Writer(std::vector<uint8_t>& state) : state_(state) {}
  void flush() override {
    state_.insert(state_.end(), m_bufp, m_cp);
    m_cp = m_bufp;
  }

 private:
  std::vector<uint8_t>& state_;
};

class Reader final : public VerilatedDeserialize {
 public:
  explicit Reader(const std::vector<uint8_t>& state) : next_(state.data()), left_(state.size()) {
    m_endp = m_cp;
  }

 private:
  void fill() override {
    const size_t kept = m_endp - m_cp;
    std::memmove(m_bufp, m_cp, kept);
    const size_t added = std::min(left_, bufferSize() - kept);
    std::memcpy(m_bufp + kept, next_, added);
    next_ += added;
    left_ -= added;
    m_cp = m_bufp;
    m_endp = m_bufp + kept + added;
  }

  const uint8_t* next_;
  size_t left_;
};
#endif

class Bound final : public d1::Model {
 public:
  Bound() : top_(&context_, "") {
#define D1_PORT(member, width) ports.push_back({&top_.member, width});
    D1_PORTS(D1_PORT)
#undef D1_PORT
#if VM_TRACE
    context_.traceEverOn(true);
#endif
  }
  ~Bound() override {
    // Scopes leave the context of the thread, which may be that of another model.
    Verilated::threadContextp(&context_);
    stop_trace();
    top_.final();
  }

  void eval() override { top_.eval(); }

#if D1_SAVABLE
  bool save(std::vector<uint8_t>& state) override {
    Writer writer(state);
    writer << top_;
    writer.flush();
    return true;
  }
  bool restore(const std::vector<uint8_t>& state) override {
    Reader reader(state);
    reader >> top_;
    return true;
  }
#else
  bool save(std::vector<uint8_t>&) override { return false; }
  bool restore(const std::vector<uint8_t>&) override { return false; }
#endif

  bool write_coverage([[maybe_unused]] const char* path) {
#if VM_COVERAGE
    context_.coveragep()->write(path);
#endif
    return VM_COVERAGE;
  }

#if VM_TRACE
  bool open_trace(const char* path) override {
    trace_ = std::make_unique<Trace>();
    top_.trace(trace_.get(), 99);
    trace_->open(path);
    return trace_->isOpen();
  }
  void dump_trace(uint64_t time) override { trace_->dump(time); }
  void close_trace() override { trace_->close(); }
#else
  bool open_trace(const char*) override { return false; }
  void dump_trace(uint64_t) override {}
  void close_trace() override {}
#endif

 private:
  VerilatedContext context_;
  Vtop top_;
#if VM_TRACE
  std::unique_ptr<Trace> trace_;
#endif
};

}  // namespace

extern "C" {

d1::Model* d1_new() { return new Bound; }

int d1_write_coverage(d1::Model* model, const char* path) {
  return static_cast<Bound*>(model)->write_coverage(path);
}

}  // extern "C"
