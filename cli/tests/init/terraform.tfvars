# Variables of terraform/examples/complete, made by `picket init`.
name           = "own"
region         = "eu-central-1"
zones          = ["eu-central-1a", "eu-central-1b"]
ami_id         = "ami-0123"
admin_networks = ["192.0.2.0/28"]
# ca_fingerprint = "…"    # after the first apply: what the output `next` says

aws_certificates = {
  eu-central-1 = <<-PEM
    -----BEGIN CERTIFICATE-----
    MIIC
    -----END CERTIFICATE-----
  PEM
}
