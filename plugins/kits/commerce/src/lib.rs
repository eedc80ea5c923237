//! Kit `commerce`: prices things to sell, and writes their listings. A model is asked only when a call names one.

mod copy;
mod listing;
mod pricing;
#[cfg(test)]
mod tests;

ice_sdk::kit!(pricing::pricing_strategy, copy::listing_writer);
