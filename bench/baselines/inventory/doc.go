// Package inventory puts the same load on different seat inventories and audits
// what they say. It knows none of them: a system under test is an Inventory.
//
// A workload is a script for each connection: what its slots ask next, and what
// they make of the answers. A connection asks for all its slots at once and goes
// on when all have their answers, which every client library can do. The load is
// closed-loop: it shows what a system can carry, not what a visitor would feel.
//
// Everything that was acknowledged is written into a ledger, which refuses a seat
// that is granted twice the moment it happens. When the time is over, the audit
// holds the whole map of every event, and a sample of the holds, against it.
package inventory
