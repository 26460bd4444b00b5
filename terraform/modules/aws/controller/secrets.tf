# Two secrets, both read by the controller alone. The passphrase of the CA's key is made by the instance at its first start: it
# is never in Terraform's hands or state. The one that EventBridge sends is in the state, because a connection of EventBridge
# cannot be given a value that Terraform does not keep: keep the state encrypted and to few people. Who has that secret can say
# of an instance that it goes, and can admit nobody.

resource "aws_secretsmanager_secret" "ca" {
  # checkov:skip=CKV2_AWS_57:another passphrase would not open the key that lies on the volume
  name_prefix = "picket/${var.name}/ca-passphrase-"
  description = "Passphrase of the mesh CA's key. Lost, every host enrols anew: keep a copy elsewhere."
  kms_key_id  = var.kms_key_arn
  # A passphrase that is gone at once is a CA that is gone at once.
  recovery_window_in_days = 30
  tags                    = local.tags
}

# The CA's certificate, and its key encrypted under that passphrase, on their way from the first controller to the others.
resource "aws_secretsmanager_secret" "authority" {
  # checkov:skip=CKV2_AWS_57:another CA is a decision of people (docs/operations.md, "Another CA")
  count = length(var.further_subnet_ids) > 0 ? 1 : 0

  name_prefix             = "picket/${var.name}/ca-"
  description             = "The mesh CA: certificate, and key under the passphrase; written by the first controller"
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = 30
  tags                    = local.tags
}

data "aws_secretsmanager_random_password" "hooks" {
  count = var.hooks == null ? 0 : 1

  password_length     = 64
  exclude_punctuation = true
}

resource "aws_secretsmanager_secret" "hooks" {
  # checkov:skip=CKV2_AWS_57:the connection of EventBridge has to change with it; the README of the lifecycle module says how
  count = var.hooks == null ? 0 : 1

  name_prefix             = "picket/${var.name}/eventbridge-"
  description             = "What EventBridge shows the controller in x-picket-hook-secret"
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = 7
  tags                    = local.tags
}

resource "aws_secretsmanager_secret_version" "hooks" {
  count = var.hooks == null ? 0 : 1

  secret_id     = aws_secretsmanager_secret.hooks[0].id
  secret_string = data.aws_secretsmanager_random_password.hooks[0].random_password

  lifecycle {
    # The first of what is random anew at each plan; `-replace` of this gives another.
    ignore_changes        = [secret_string]
    create_before_destroy = true
  }
}

# What held it before, and would show it in a plan that takes it away.
removed {
  from = terraform_data.hooks

  lifecycle {
    destroy = false
  }
}
