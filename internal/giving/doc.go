// Package giving decides when it is worth it to have a database give back the space of
// what was deleted: it reads what is left, and writes some of it again. It makes no file
// system calls and knows no database.
package giving
