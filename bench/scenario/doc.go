// Package scenario describes an on-sale: who comes when, what is sold, how the
// waiting room lets people in, and what they do inside. It is data with the
// arithmetic that belongs to it: no clock, no sockets, no randomness of its own.
//
// A scenario is a TOML file, documented field by field in docs/onsale.md. All
// times in it are those of the real on-sale; Compression says how many of its
// seconds pass in a second of the run, and Wall and PerSecond do the division.
// Presets are such files, embedded.
package scenario
