// Placeholder until next edit.
