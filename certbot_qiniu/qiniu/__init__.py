"""The service: Qiniu Cloud's API, and the accounts and domains behind it."""
