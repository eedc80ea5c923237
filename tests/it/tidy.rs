//! The rules of the house as tests: who may depend on whom, and that tables and files agree. Each failure says what to
//! do. Reads the checkout as text; builds and runs nothing.

mod arrows;
mod checkout;
mod order;
mod tables;
