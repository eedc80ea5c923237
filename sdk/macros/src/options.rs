//! What stands in the parentheses of the attribute: `name = "…"` and `tags("…", …)`.

use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Ident, LitStr, Token, parenthesized};

/// The options, read.
pub(crate) struct Options {
    pub(crate) name: Option<LitStr>,
    pub(crate) tags: Vec<LitStr>,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut options = Self { name: None, tags: Vec::new() };
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            if key == "name" {
                input.parse::<Token![=]>()?;
                options.name = Some(input.parse()?);
            } else if key == "tags" {
                let list;
                parenthesized!(list in input);
                options.tags = Punctuated::<LitStr, Token![,]>::parse_terminated(&list)?.into_iter().collect();
            } else {
                return Err(syn::Error::new(key.span(), "expected `name = \"…\"` or `tags(\"…\", …)`"));
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}
