"""What tests share: servers, waiting, builders. Typed and tested like the product."""
