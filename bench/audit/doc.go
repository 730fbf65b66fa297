// Package audit holds what clients were told against what the server says
// afterwards. Check is a pure function over histories: one History is everything
// that one event's clients and the server say, and what it finds is data. The
// package speaks to nobody and reads no clock.
//
// Each rule states a promise and counts what it looked at, so that a rule that
// looked at nothing is seen to have done so. A finding is certain: every time
// that is not known exactly enters as the bound that speaks for the server. What
// a client saw is not what happened: an answer is later than the decision it
// tells of, and a request earlier. So a history without findings does not prove
// the promises, but a finding disproves one.
//
// Times of clients are on one monotonic clock, from any zero. Event time is
// never compared with them.
package audit
