// Package report is what a run of an on-sale found, for people and for machines: a
// table for the terminal, JSON, one HTML page that needs nothing else, and the
// comparison of two results. It measures nothing.
package report
