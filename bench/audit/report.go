package audit

import (
	"fmt"
	"strings"
)

// examplesKept bounds the findings of a rule that are described; all are counted.
const examplesKept = 5

// A Rule is one promise with what was looked at and found.
type Rule struct {
	Name     string   `json:"name"`
	Promise  string   `json:"promise"`
	Checked  int64    `json:"checked"`
	Broken   int64    `json:"broken"`
	Examples []string `json:"examples,omitempty"`
}

// A Report is the outcome of an audit.
type Report struct {
	Rules []Rule `json:"rules"` // in the order of the table of rules, whatever was audited
}

// promises are all rules there are.
var promises = []struct{ name, promise string }{
	{"booking", "each acknowledged booking is on the server once, with its seats and fence"},
	{"stranger", "the server has no booking, and at the end no held seat, that was not acknowledged"},
	{"seat", "no seat is in two live holds or bookings at a time"},
	{"whole", "a request gets all its seats or none"},
	{"early", "no hold ends before its time"},
	{"late", "the seats of a hold whose time is over are free one tick and one commit later"},
	{"records", "the change records of each seat follow on each other and lead to the map"},
	{"fence", "no two grants have the same fence"},
	{"unknown", "no request's outcome is unknown in the end"},
	{"ticket", "no number is given to two visitors, and none that was not issued"},
	{"order", "of two late visitors, a join acknowledged before the other was sent has the lower number"},
	{"draw", "early visitors get the queue numbers that anybody can compute from the draw"},
	{"called", "nobody is let in before being called, nor refused after"},
	{"grace", "nobody who was called lapses before the time to come is over"},
	{"limit", "no more people are inside than the limit"},
	{"pass", "no pass holds and books more seats than it is good for, and none was given twice"},
}

// A reporter gathers what the rules of one audit find.
type reporter struct {
	event string
	rules map[string]*Rule
	list  []Rule
}

func newReporter() *reporter {
	r := &reporter{rules: make(map[string]*Rule), list: make([]Rule, len(promises))}
	for i, p := range promises {
		r.list[i] = Rule{Name: p.name, Promise: p.promise}
		r.rules[p.name] = &r.list[i]
	}
	return r
}

// looked counts n things that the rule was held against.
func (r *reporter) looked(rule string, n int) { r.rules[rule].Checked += int64(n) }

// broke notes a finding.
func (r *reporter) broke(rule, format string, args ...any) {
	to := r.rules[rule]
	to.Broken++
	if len(to.Examples) < examplesKept {
		to.Examples = append(to.Examples, r.event+": "+fmt.Sprintf(format, args...))
	}
}

// OK reports that nothing was found.
func (r *Report) OK() bool {
	for _, rule := range r.Rules {
		if rule.Broken > 0 {
			return false
		}
	}
	return true
}

// Error says what broke, a line for each rule and its examples.
func (r *Report) Error() string {
	var lines []string
	for _, rule := range r.Rules {
		if rule.Broken == 0 {
			continue
		}
		lines = append(lines, fmt.Sprintf("%s: %d of %d broke \"%s\":", rule.Name, rule.Broken, rule.Checked, rule.Promise))
		for _, e := range rule.Examples {
			lines = append(lines, "  "+e)
		}
	}
	return strings.Join(lines, "\n")
}
