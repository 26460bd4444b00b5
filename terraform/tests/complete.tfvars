# Inputs with which examples/complete is applied to the cloud that is played.
name                = "mesh"
ca_fingerprint      = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
aws_certificates    = { eu-central-1 = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n" }
admin_networks      = ["203.0.113.0/28"]
several             = true
validator           = true
alarm_address       = "operator@example.org"
deletion_protection = false
